// Reductions and scans.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

// Axes were attributes before opset 18 (ReduceSum: 13).
template <ReduceKind kind> static void reduce(Node &n) {
  Value x = n.in(0);
  std::optional<Ints> given = n.intsFrom(1, "axes");
  bool keepDims = n.boolAttr("keepdims", true);
  if (n.failed())
    return;
  if (!given || given->empty()) {
    if (n.boolAttr("noop_with_empty_axes", false)) {
      // No reduction, but what is done to each element stays.
      if (kind == ReduceKind::L1 || kind == ReduceKind::L2)
        return n.out(n.create<AbsOp>(x));
      if (kind == ReduceKind::SumSquare)
        return n.out(n.mul(x, x));
      if (kind == ReduceKind::LogSum)
        return n.out(n.create<LogOp>(x));
      return n.out(x);
    }
    given = llvm::to_vector(llvm::seq<int64_t>(0, n.rank(x)));
  }
  Ints axes = n.axes(*given, n.rank(x));
  mlir::Type type = n.elem(x);
  if (type.isInteger(1)) { // ReduceMax and ReduceMin of booleans are or and and
    Value wide = n.reduce(kind, n.cast(x, n.b.getI32Type()), axes, keepDims);
    return n.out(n.cast(wide, type));
  }
  n.out(axes.empty() && !n.failed() && (kind == ReduceKind::Sum || kind == ReduceKind::Max)
            ? x
            : n.reduce(kind, x, axes, keepDims));
}

template <bool smallest> static void argReduce(Node &n) {
  Value x = n.in(0);
  int64_t axis = n.axis(n.intAttr("axis", 0), n.rank(x));
  n.out(n.create<ArgReduceOp>(x, axis, n.boolAttr("keepdims", true), smallest, n.boolAttr("select_last_index", false)));
}

template <typename Op> static void cumulate(Node &n) {
  Value x = n.in(0);
  Ints axis = n.constants(n.in(1), "the axis");
  if (!n.failed() && axis.size() != 1)
    n.error("expected one axis");
  if (n.failed())
    return;
  n.out(n.create<Op>(x, n.axis(axis[0], n.rank(x)), n.boolAttr("exclusive", false), n.boolAttr("reverse", false)));
}

/// All dimensions behind batch and channel.
static Ints spatialAxes(Node &n, Value x) {
  if (n.rank(x) < 3)
    n.error("expected a rank of at least 3, but got " + llvm::Twine(n.rank(x)));
  return n.failed() ? Ints() : Ints(llvm::to_vector(llvm::seq<int64_t>(2, n.rank(x))));
}

template <ReduceKind kind> static void globalPool(Node &n) { n.out(n.reduce(kind, n.in(0), spatialAxes(n, n.in(0)))); }

void onnx_import::addReduceOps(OpTable &t) {
  t.add(kOnnx, "ReduceSum", reduce<ReduceKind::Sum>);
  t.add(kOnnx, "ReduceMean", reduce<ReduceKind::Mean>);
  t.add(kOnnx, "ReduceMax", reduce<ReduceKind::Max>);
  t.add(kOnnx, "ReduceMin", reduce<ReduceKind::Min>);
  t.add(kOnnx, "ReduceProd", reduce<ReduceKind::Prod>);
  t.add(kOnnx, "ReduceL1", reduce<ReduceKind::L1>);
  t.add(kOnnx, "ReduceL2", reduce<ReduceKind::L2>);
  t.add(kOnnx, "ReduceSumSquare", reduce<ReduceKind::SumSquare>);
  t.add(kOnnx, "ReduceLogSum", reduce<ReduceKind::LogSum>);
  t.add(kOnnx, "ReduceLogSumExp", reduce<ReduceKind::LogSumExp>);
  t.add(kOnnx, "ArgMax", argReduce<false>);
  t.add(kOnnx, "ArgMin", argReduce<true>);
  t.add(kOnnx, "CumSum", cumulate<CumSumOp>);
  t.add(kOnnx, "CumProd", cumulate<CumProdOp>);
  t.add(kOnnx, "GlobalAveragePool", globalPool<ReduceKind::Mean>);
  t.add(kOnnx, "GlobalMaxPool", globalPool<ReduceKind::Max>);
}
