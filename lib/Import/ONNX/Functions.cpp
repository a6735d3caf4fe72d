// Model-local functions, inlined where they are called.
#include "GraphImporter.h"
#include "Node.h"

#include "llmopt/Dialect/LM/IR/NodeLocation.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using onnx::AttributeProto;
using onnx::FunctionProto;
using onnx::NodeProto;

static constexpr unsigned kMaxCallDepth = 64;

static llvm::StringRef normalDomain(llvm::StringRef domain) { return domain == "ai.onnx" ? "" : domain; }

const FunctionProto *GraphImporter::findFunction(const NodeProto &proto) {
  for (const FunctionProto &function : file.model().functions())
    if (function.name() == proto.op_type() && function.overload() == proto.overload() &&
        normalDomain(function.domain()) == normalDomain(proto.domain()))
      return &function;
  return nullptr;
}

namespace {

/// Replaces references to the function's attributes by their values at a call.
class AttributeBinder {
public:
  AttributeBinder(const FunctionProto &function, const NodeProto &call) {
    for (const AttributeProto &attribute : function.attribute_proto())
      values[attribute.name()] = &attribute;
    for (const AttributeProto &attribute : call.attribute())
      values[attribute.name()] = &attribute;
  }

  void bind(NodeProto &node) const {
    auto *attributes = node.mutable_attribute();
    for (int i = 0; i < attributes->size();) {
      AttributeProto &attribute = *attributes->Mutable(i);
      if (!attribute.ref_attr_name().empty()) {
        auto it = values.find(attribute.ref_attr_name());
        if (it == values.end()) { // absent at the call: absent here
          attributes->DeleteSubrange(i, 1);
          continue;
        }
        std::string name = attribute.name();
        attribute = *it->second;
        attribute.set_name(name);
      } else {
        if (attribute.has_g())
          bind(*attribute.mutable_g());
        for (onnx::GraphProto &graph : *attribute.mutable_graphs())
          bind(graph);
      }
      ++i;
    }
  }

private:
  void bind(onnx::GraphProto &graph) const {
    for (NodeProto &node : *graph.mutable_node())
      bind(node);
  }
  std::map<std::string, const AttributeProto *> values;
};

} // namespace

void GraphImporter::inlineFunction(const FunctionProto &function, Node &node) {
  const Scope &caller = node.getScope();
  if (caller.depth >= kMaxCallDepth)
    return node.error("functions call each other more than " + llvm::Twine(kMaxCallDepth) + " deep");
  Scope scope;
  scope.depth = caller.depth + 1;
  std::string name = node.proto.name();
  scope.prefix = caller.prefix + (name.empty() ? function.name() : name) + "/";
  scope.module = caller.module;
  llvm::SmallVector<lm::NodeInfo> infos = lm::getNodes(node.loc);
  if (!infos.empty() && !infos.front().module.empty())
    scope.module = infos.front().module;
  for (const onnx::OperatorSetIdProto &opset : function.opset_import())
    scope.opsets[normalDomain(opset.domain()).str()] = opset.version();
  if (node.numInputs() > static_cast<unsigned>(function.input_size()))
    return node.error("expected at most " + llvm::Twine(function.input_size()) + " inputs, but got " +
                      llvm::Twine(node.numInputs()));

  // An input that the caller leaves out is a name without a value: nodes that
  // use it see an omitted input, which an empty name says.
  std::set<std::string> omitted;
  for (int i = 0; i < function.input_size(); ++i) {
    if (node.has(i))
      scope.values[function.input(i)] = node.in(i);
    else
      omitted.insert(function.input(i));
  }
  AttributeBinder binder(function, node.proto);
  google::protobuf::RepeatedPtrField<NodeProto> body(function.node());
  for (NodeProto &inner : body) {
    binder.bind(inner);
    for (std::string &input : *inner.mutable_input())
      if (omitted.count(input))
        input.clear();
  }
  if (!importNodes(body, scope)) {
    node.failed_ = true;
    return;
  }
  for (int i = 0; i < function.output_size(); ++i) {
    mlir::Value value;
    switch (lookup(function.output(i), scope, value)) {
    case Lookup::Found:
      node.out(i, value);
      break;
    case Lookup::Poisoned:
      node.failed_ = true;
      break;
    case Lookup::Undefined:
      if (node.wants(i))
        return node.error("function output '" + printable(function.output(i)) + "' is not computed");
    }
  }
}
