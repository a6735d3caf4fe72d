// Scatters, sorting, and sizes that depend on data.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::lm;
using namespace llmopt::onnx_export;

static const char *reductionName(ScatterKind kind) {
  static constexpr const char *names[] = {"none", "add", "mul", "max", "min"};
  return names[static_cast<unsigned>(kind)];
}

static Name asI64(OpWriter &w, mlir::Value value) {
  mlir::Type i64 = mlir::IntegerType::get(w.op->getContext(), 64);
  return w.elem(value) == i64 ? w.in(value) : w.cast(w.in(value), i64);
}

static void scatterElements(OpWriter &w) {
  auto op = w.as<ScatterElementsOp>();
  w.out(w.node("ScatterElements", {w.in(op.getInput()), asI64(w, op.getIndices()), w.in(op.getUpdates())},
               {{"axis", int64_t(op.getAxis())}, {"reduction", reductionName(op.getKind())}}));
}

static void scatterND(OpWriter &w) {
  auto op = w.as<ScatterNDOp>();
  w.out(w.node("ScatterND", {w.in(op.getInput()), asI64(w, op.getIndices()), w.in(op.getUpdates())},
               {{"reduction", reductionName(op.getKind())}}));
}

static void argSort(OpWriter &w) {
  auto op = w.as<ArgSortOp>();
  int64_t axis = op.getAxis();
  if (op.getLexicographic())
    return w.error("lm.arg_sort of rows has no ONNX form");
  Name count = w.sizes(w.dims(op.getResult())[axis]);
  w.out(w.graph
            .addNode("TopK", {w.in(0), count}, 2, {{"axis", axis}, {"largest", op.getDescending()}, {"sorted", 1}}, 11)
            ->output(1));
}

static void trueIndices(OpWriter &w) { w.out(w.reshape(w.node("NonZero", {w.in(0)}), {-1})); }

static void defineSymbol(OpWriter &w) {
  auto op = w.as<DefineSymbolOp>();
  w.graph.define(op.getSymbol(), w.reshape(w.in(0), {1}));
}

void onnx_export::addIndexOps(OpTable &t) {
  t.add<ScatterElementsOp>(scatterElements);
  t.add<ScatterNDOp>(scatterND);
  t.add<ArgSortOp>(argSort);
  t.add<TrueIndicesOp>(trueIndices);
  t.add<DefineSymbolOp>(defineSymbol);
}
