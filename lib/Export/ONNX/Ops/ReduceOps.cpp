// Reductions, running sums and softmax.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::lm;
using namespace llmopt::onnx_export;

static void reduce(OpWriter &w) {
  static constexpr const char *names[] = {"ReduceSum",    "ReduceMean",     "ReduceMax", "ReduceMin",
                                          "ReduceProd",   "ReduceL1",       "ReduceL2",  "ReduceSumSquare",
                                          "ReduceLogSum", "ReduceLogSumExp"};
  auto op = w.as<ReduceOp>();
  if (op.getAxes().empty() && w.rank(op.getInput()) > 0)
    return w.error("lm.reduce over no axes has no ONNX form");
  w.out(w.node(names[static_cast<unsigned>(op.getKind())], {w.in(0), w.ints(op.getAxes())},
               {{"keepdims", op.getKeepdims()}}, w.elem(op.getInput()).isInteger(1) ? 20 : 18));
}

static void argReduce(OpWriter &w) {
  auto op = w.as<ArgReduceOp>();
  w.out(w.node(op.getSmallest() ? "ArgMin" : "ArgMax", {w.in(0)},
               {{"axis", int64_t(op.getAxis())}, {"keepdims", op.getKeepdims()}, {"select_last_index", op.getLast()}}));
}

template <typename Op> static void running(OpWriter &w, llvm::StringRef name, int64_t since) {
  auto op = w.as<Op>();
  mlir::Type i64 = mlir::IntegerType::get(w.op->getContext(), 64);
  w.out(w.node(name, {w.in(0), w.scalar(i64, static_cast<double>(int64_t(op.getAxis())))},
               {{"exclusive", op.getExclusive()}, {"reverse", op.getReverse()}}, since));
}

static void cumSum(OpWriter &w) { running<CumSumOp>(w, "CumSum", 14); }
static void cumProd(OpWriter &w) { running<CumProdOp>(w, "CumProd", 26); }

static void softmax(OpWriter &w) {
  auto op = w.as<SoftmaxOp>();
  w.out(w.node(op.getLog() ? "LogSoftmax" : "Softmax", {w.in(0)}, {{"axis", int64_t(op.getAxis())}}));
}

void onnx_export::addReduceOps(OpTable &t) {
  t.add<ReduceOp>(reduce);
  t.add<ArgReduceOp>(argReduce);
  t.add<CumSumOp>(cumSum);
  t.add<CumProdOp>(cumProd);
  t.add<SoftmaxOp>(softmax);
}
