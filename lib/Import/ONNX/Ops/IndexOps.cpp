// Operators that sort, scatter and reorder by index.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

// k was an attribute before opset 10; largest and sorted came with 11.
static void topK(Node &n) {
  Value x = n.in(0);
  int64_t axis = n.axis(n.intAttr("axis", -1), n.rank(x));
  Dims count{SymExpr(n.intAttr("k", 0))};
  if (n.opset() >= 10)
    count = n.values(n.in(1), "input 'K'");
  if (!n.failed() && count.size() != 1)
    n.error("expected one K");
  if (n.failed())
    return;
  Dims dims = n.dims(x);
  n.require(count[0], dims[axis]);
  dims[axis] = count[0];
  if (n.failed())
    return;
  Value order = n.create<ArgSortOp>(getTensorType(dims, n.b.getI64Type()), x, axis,
                                    /*descending=*/n.boolAttr("largest", true));
  n.out(0, n.create<GatherElementsOp>(x, order, axis));
  n.out(1, order);
}

static std::optional<ScatterKind> scatterKind(Node &n) {
  std::string name = n.stringAttr("reduction", "none");
  std::optional<ScatterKind> kind = symbolizeScatterKind(name);
  if (!kind)
    n.error("expected reduction to be none, add, mul, max or min, but got '" + printable(name) + "'");
  return kind;
}

static void scatterElements(Node &n) {
  Value x = n.in(0);
  int64_t axis = n.axis(n.intAttr("axis", 0), n.rank(x));
  if (std::optional<ScatterKind> kind = scatterKind(n))
    n.out(n.create<ScatterElementsOp>(*kind, x, n.in(1), n.in(2), axis));
}

static void scatterND(Node &n) {
  if (std::optional<ScatterKind> kind = scatterKind(n))
    n.out(n.create<ScatterNDOp>(*kind, n.in(0), n.in(1), n.in(2)));
}

/// [B] along dimension `at` of `rank`, as i64.
static Value alongDimension(Node &n, Value v, int64_t at, int64_t rank) {
  Dims dims(rank, SymExpr(1));
  if (!n.failed())
    dims[at] = product(n.dims(v));
  return n.reshape(n.cast(v, n.b.getI64Type()), dims);
}

// The first `length` elements of each sequence backwards, the others as they are.
static void reverseSequence(Node &n) {
  Value x = n.in(0);
  int64_t rank = n.rank(x), batch = n.axis(n.intAttr("batch_axis", 1), rank),
          time = n.axis(n.intAttr("time_axis", 0), rank);
  if (!n.failed() && batch == time)
    n.error("expected batch_axis and time_axis to differ");
  if (n.failed())
    return;
  Value length = alongDimension(n, n.in(1), batch, rank), t = n.iota(n.b.getI64Type(), n.dims(x), time);
  Value backwards = n.sub(n.sub(length, n.scalar(n.b.getI64Type(), 1)), t);
  Value index = n.select(n.compare(Predicate::LT, t, length), backwards, t);
  n.out(n.create<GatherElementsOp>(x, index, time));
}

// Position p of the cache takes element p - write_index of the update, where it has one.
static void tensorScatter(Node &n) {
  Value cache = n.in(0), update = n.in(1);
  std::string mode = n.stringAttr("mode", "linear");
  if (mode != "linear" && mode != "circular")
    return n.error("expected mode to be linear or circular, but got '" + printable(mode) + "'");
  int64_t rank = n.rank(cache), axis = n.axis(n.intAttr("axis", -2), rank);
  if (!n.failed() && (axis == 0 || n.rank(update) != rank))
    n.error("expected cache and update of one rank, and an axis behind the batch");
  if (n.failed())
    return;
  mlir::Type i64 = n.b.getI64Type();
  Dims dims = n.dims(cache), updateDims = n.dims(update);
  n.require(updateDims[axis], dims[axis]);
  auto size = [&](const SymExpr &dim) {
    return n.constant(getSymbolicAttr(mlir::RankedTensorType::get({}, i64), {dim}));
  };
  Value index = n.iota(i64, dims, axis), zero = n.scalar(i64, 0);
  if (n.has(2))
    index = n.sub(index, alongDimension(n, n.in(2), 0, rank));
  if (mode == "circular")
    index = n.create<ModOp>(index, size(dims[axis]), /*fmod=*/false);
  Value length = size(updateDims[axis]), one = n.scalar(i64, 1);
  Value inside = n.create<AndOp>(n.compare(Predicate::GE, index, zero), n.compare(Predicate::LT, index, length));
  Value safe = n.create<MaxOp>(n.create<MinOp>(index, n.sub(length, one)), zero);
  n.out(n.select(inside, n.create<GatherElementsOp>(update, safe, axis), cache));
}

void onnx_import::addIndexOps(OpTable &t) {
  t.add(kOnnx, "TopK", topK);
  t.add(kOnnx, "Scatter", scatterElements);
  t.add(kOnnx, "ScatterElements", scatterElements);
  t.add(kOnnx, "ScatterND", scatterND);
  t.add(kOnnx, "ReverseSequence", reverseSequence);
  t.add(kOnnx, "TensorScatter", tensorScatter);
}
