// Operators whose results are as large as the data says: a count becomes a
// symbol (Node::defineSymbol), and the rest is ordinary operations on sizes.
#include "OpTable.h"

#include "mlir/IR/Matchers.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// The indices of the true elements of a vector, as many as there are.
static Value trueIndices(Node &n, Value mask) {
  mlir::Type i64 = n.b.getI64Type();
  Value count = n.reduce(ReduceKind::Sum, n.cast(mask, i64), {0}, /*keepDims=*/false);
  SymExpr bound = n.failed() ? SymExpr(0) : n.dims(mask)[0];
  return n.create<TrueIndicesOp>(getTensorType({n.defineSymbol(count, bound)}, i64), mask);
}

static Value flatten(Node &n, Value x) { return n.reshape(x, {product(n.dims(x))}); }

/// A scalar of i64 for a size.
static Value sizeOf(Node &n, const SymExpr &dim) {
  return n.constant(getSymbolicAttr(mlir::RankedTensorType::get({}, n.b.getI64Type()), {dim}));
}

/// A row-major number split into the indices of `dims`, each as [count, 1].
static llvm::SmallVector<Value> split(Node &n, Value number, llvm::ArrayRef<SymExpr> dims) {
  llvm::SmallVector<Value> parts;
  Value rest = n.reshape(number, {product(n.dims(number)), 1});
  for (const SymExpr &dim : llvm::reverse(dims)) {
    Value size = sizeOf(n, dim);
    bool isFirst = parts.size() + 1 == dims.size();
    parts.insert(parts.begin(), isFirst ? rest : n.create<ModOp>(rest, size, /*fmod=*/false));
    if (!isFirst)
      rest = n.div(rest, size);
  }
  return parts;
}

/// Whether all elements are one number other than zero.
static bool isOnes(Value x) {
  if (auto wide = x.getDefiningOp<BroadcastOp>())
    x = wide.getInput();
  mlir::DenseElementsAttr value;
  if (!mlir::matchPattern(x, mlir::m_Constant(&value)) || (!value.isSplat() && value.getNumElements() != 1))
    return false;
  mlir::Attribute element = *value.value_begin<mlir::Attribute>();
  if (auto integer = llvm::dyn_cast<mlir::IntegerAttr>(element))
    return !integer.getValue().isZero();
  return !llvm::cast<mlir::FloatAttr>(element).getValue().isZero();
}

// Older exporters count from 0 to n-1 as NonZero of n ones.
static void nonZero(Node &n) {
  Value x = n.in(0);
  if (n.failed())
    return;
  if (n.rank(x) == 1 && isOnes(x))
    return n.out(n.iota(n.b.getI64Type(), {1, n.dims(x)[0]}, 1));
  Dims dims = n.dims(x);
  if (dims.empty()) // ONNX leaves scalars open; NumPy takes them as one element
    dims.push_back(1);
  Value indices = trueIndices(n, flatten(n, n.cast(x, n.b.getI1Type())));
  n.out(n.transpose(n.concat(split(n, indices, dims), 1), {1, 0}));
}

// The condition may be shorter than the axis, not longer.
static void compress(Node &n) {
  Value x = n.in(0), condition = n.in(1);
  if (!n.attr("axis"))
    x = flatten(n, x);
  int64_t axis = n.axis(n.intAttr("axis", 0), n.rank(x));
  if (!n.failed() && n.rank(condition) != 1)
    n.error("expected a condition of rank 1");
  if (n.failed())
    return;
  n.require(n.dims(condition)[0], n.dims(x)[axis]);
  n.out(n.create<GatherOp>(x, trueIndices(n, condition), axis));
}

// Sorted, an element that differs from the one before begins a group.
static void unique(Node &n) {
  Value x = n.in(0);
  mlir::Type i64 = n.b.getI64Type();
  bool flat = !n.attr("axis");
  if (flat)
    x = flatten(n, x);
  int64_t axis = n.axis(n.intAttr("axis", 0), n.rank(x));
  if (n.failed())
    return;
  // Rows that are compared: [size, elements of a subtensor].
  Ints perm{axis};
  for (int64_t i = 0; i < n.rank(x); ++i)
    if (i != axis)
      perm.push_back(i);
  SymExpr size = n.dims(x)[axis];
  Value rows = n.transpose(x, perm);
  if (n.failed())
    return;
  Dims dims = n.dims(rows);
  rows = n.reshape(rows, {size, product(llvm::ArrayRef<SymExpr>(dims).drop_front(1))});
  Value order = n.create<ArgSortOp>(getTensorType({size}, i64), rows, 0, /*descending=*/false, /*lexicographic=*/true);
  Value sorted = n.create<GatherOp>(rows, order, 0);
  Value position = n.iota(i64, {size}, 0), zero = n.scalar(i64, 0), one = n.scalar(i64, 1);
  Value before = n.create<GatherOp>(sorted, n.create<MaxOp>(n.sub(position, one), zero), 0);
  if (n.failed())
    return;
  Value differs = n.create<NotOp>(n.compare(Predicate::EQ, sorted, before));
  Value first = n.reduce(ReduceKind::Max, n.cast(differs, i64), {1}, /*keepDims=*/false);
  first = n.create<OrOp>(n.cast(first, n.b.getI1Type()), n.compare(Predicate::EQ, position, zero));
  Value starts = trueIndices(n, first);
  if (n.failed())
    return;
  Dims count = n.dims(starts);
  Value group = n.sub(n.create<CumSumOp>(n.cast(first, i64), 0, false, false), one);
  Value indices = n.create<GatherOp>(order, starts, 0);
  Value inverse = n.create<ScatterElementsOp>(ScatterKind::None, n.filled(i64, 0, {size}), order, group, 0);
  Value counts =
      n.create<ScatterElementsOp>(ScatterKind::Add, n.filled(i64, 0, count), group, n.filled(i64, 1, {size}), 0);
  if (!n.boolAttr("sorted", true)) {
    // In the order of first occurrence: rank[g] is the place of group g.
    Value place = n.create<ArgSortOp>(getTensorType(count, i64), indices, 0, /*descending=*/false);
    Value rank = n.create<ArgSortOp>(getTensorType(count, i64), place, 0, /*descending=*/false);
    indices = n.create<GatherOp>(indices, place, 0);
    counts = n.create<GatherOp>(counts, place, 0);
    inverse = n.create<GatherOp>(rank, inverse, 0);
  }
  n.out(0, n.create<GatherOp>(x, indices, axis));
  n.out(1, indices);
  n.out(2, inverse);
  n.out(3, counts);
}

static void nonMaxSuppression(Node &n) {
  Value boxes = n.in(0), scores = n.in(1);
  mlir::Type i64 = n.b.getI64Type();
  Value limit = n.has(2) ? n.reshape(n.in(2), {}) : n.scalar(i64, 0);
  Value iou = n.has(3) ? n.reshape(n.in(3), {}) : n.scalar(n.elem(boxes), 0);
  Value score = n.has(4) ? n.reshape(n.in(4), {}) : Value();
  if (!n.failed() && n.rank(scores) != 3)
    n.error("expected scores of rank 3");
  if (n.failed())
    return;
  Dims dims = n.dims(scores);
  SymExpr slots = dims[2];
  if (std::optional<Dims> known = getSymbolicValue(limit); known && known->front().lowerBound().value_or(-1) >= 0)
    slots = SymExpr::min(slots, known->front());
  if (slots.isConstant(0))
    return n.out(n.filled(i64, 0, {0, 3}));
  Dims wide{dims[0], dims[1], slots};
  Value chosen = n.create<NonMaxSuppressionOp>(getTensorType(wide, i64), boxes, scores, limit, iou, score,
                                               n.boolAttr("center_point_box", false));
  chosen = flatten(n, chosen);
  Value where = trueIndices(n, n.compare(Predicate::GE, chosen, n.scalar(i64, 0)));
  llvm::SmallVector<Value> columns = split(n, where, wide);
  columns.back() = n.failed() ? Value() : n.reshape(n.create<GatherOp>(chosen, where, 0), {n.dims(where)[0], 1});
  n.out(n.concat(columns, 1));
}

void onnx_import::addSelectOps(OpTable &t) {
  t.add(kOnnx, "NonZero", nonZero);
  t.add(kOnnx, "Compress", compress);
  t.add(kOnnx, "Unique", unique);
  t.add(kOnnx, "NonMaxSuppression", nonMaxSuppression);
}
