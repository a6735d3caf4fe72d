// Branches and loops: regions are subgraphs, which see the names around them.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::lm;
using namespace llmopt::onnx_export;

/// An attribute that holds a region. Made before the node, whose place in its graph
/// is behind everything that the region needs from outside.
static onnx::AttributeProto subgraph(OpWriter &w, llvm::StringRef name, mlir::Block &block) {
  onnx::AttributeProto attribute;
  attribute.set_name(name.str());
  attribute.set_type(onnx::AttributeProto::GRAPH);
  NodeInfo caller = w.graph.origin;
  w.graph.exportRegion(block, *attribute.mutable_g());
  w.graph.origin = caller;
  return attribute;
}

static void branch(OpWriter &w) {
  auto op = w.as<IfOp>();
  onnx::AttributeProto yes = subgraph(w, "then_branch", op.getThenRegion().front());
  onnx::AttributeProto no = subgraph(w, "else_branch", op.getElseRegion().front());
  onnx::NodeProto *node = w.graph.addNode("If", {w.in(op.getCondition())}, op.getNumResults(), {}, 16);
  *node->add_attribute() = std::move(yes);
  *node->add_attribute() = std::move(no);
  for (unsigned i = 0; i < op.getNumResults(); ++i)
    w.out(i, node->output(i));
}

static void loop(OpWriter &w) {
  auto op = w.as<LoopOp>();
  // The body takes the condition as well, which lm does not pass on.
  onnx::AttributeProto body = subgraph(w, "body", op.getBody().front());
  onnx::GraphProto &graph = *body.mutable_g();
  onnx::ValueInfoProto condition = graph.output(0);
  condition.set_name(w.graph.unique("condition"));
  *graph.add_input() = condition;
  for (int i = graph.input_size() - 1; i > 1; --i)
    graph.mutable_input()->SwapElements(i, i - 1);

  Names inputs = {w.in(op.getTripCount()), w.in(op.getCondition())};
  for (mlir::Value init : op.getInits())
    inputs.push_back(w.in(init));
  onnx::NodeProto *node = w.graph.addNode("Loop", inputs, op.getNumResults(), {}, 16);
  *node->add_attribute() = std::move(body);
  Names results(node->output().begin(), node->output().end());
  for (unsigned i = 0; i < op.getNumResults(); ++i) {
    Name result = results[i];
    if (i >= op.getNumStates() && op.getReverseRows()[i - op.getNumStates()])
      result = w.node("Slice", {result, w.ints({-1}), w.ints({INT64_MIN}), w.ints({0}), w.ints({-1})});
    w.out(i, result);
  }
}

void onnx_export::addControlOps(OpTable &t) {
  t.add<IfOp>(branch);
  t.add<LoopOp>(loop);
}
