// Operations that move elements. Shapes that lm keeps in types and attributes
// become operands again.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::lm;
using namespace llmopt::onnx_export;

static void shape(OpWriter &w) { w.out(w.node("Shape", {w.in(0)})); }

/// The axes whose dimensions, all 1, `wide` has beyond those of `narrow`; nullopt
/// where it has others.
static std::optional<Ints> findOnes(llvm::ArrayRef<SymExpr> wide, llvm::ArrayRef<SymExpr> narrow) {
  Ints axes;
  unsigned next = 0;
  for (auto [i, dim] : llvm::enumerate(wide)) {
    if (next < narrow.size() && dim == narrow[next])
      ++next;
    else if (dim.isConstant(1))
      axes.push_back(i);
    else
      return std::nullopt;
  }
  return next == narrow.size() ? std::optional(axes) : std::nullopt;
}

// Dimensions are kept (0), or one is found (-1); where that is not enough, sizes
// are computed, and since they may be zero, a 0 then means what it says.
static void reshape(OpWriter &w) {
  auto op = w.as<ReshapeOp>();
  Dims from = w.dims(op.getInput()), to = w.dims(op.getResult());
  if (std::optional<Ints> axes = findOnes(to, from))
    return w.out(w.node("Unsqueeze", {w.in(0), w.ints(*axes)}));
  if (std::optional<Ints> axes = findOnes(from, to))
    return w.out(w.node("Squeeze", {w.in(0), w.ints(*axes)}));
  Dims target = to;
  llvm::SmallVector<unsigned> kept, open;
  bool hasZero = false;
  for (unsigned i = 0; i < to.size(); ++i) {
    hasZero |= to[i].isConstant(0);
    if (!to[i].getConstant())
      (i < from.size() && from[i] == to[i] ? kept : open).push_back(i);
  }
  llvm::SmallVector<Attr> attrs;
  if (hasZero || open.size() > 1 || (open.size() == 1 && !kept.empty())) {
    attrs.push_back({"allowzero", 1});
  } else {
    for (unsigned i : kept)
      target[i] = 0;
    for (unsigned i : open)
      target[i] = -1;
  }
  w.out(w.node("Reshape", {w.in(0), w.sizes(target)}, attrs));
}

// A dimension that stays may be given as 1.
static void broadcast(OpWriter &w) {
  auto op = w.as<BroadcastOp>();
  Dims from = w.dims(op.getInput()), target = w.dims(op.getResult());
  for (unsigned i = 0, skip = target.size() - from.size(); i < from.size(); ++i)
    if (from[i] == target[skip + i])
      target[skip + i] = 1;
  w.out(w.node("Expand", {w.in(0), w.sizes(target)}));
}

static void transpose(OpWriter &w) { w.out(w.transpose(w.in(0), w.as<TransposeOp>().getPerm())); }

static void concat(OpWriter &w) {
  auto op = w.as<ConcatOp>();
  Names inputs;
  for (mlir::Value input : op.getInputs())
    inputs.push_back(w.in(input));
  w.out(w.node("Concat", inputs, {{"axis", int64_t(op.getAxis())}}));
}

static void slice(OpWriter &w) {
  auto op = w.as<SliceOp>();
  Dims from = w.dims(op.getInput()), to = w.dims(op.getResult()), first = getExprs(op.getStarts());
  Dims starts, ends;
  Ints axes, steps;
  for (auto [i, step] : llvm::enumerate(op.getSteps())) {
    if (step == 1 && first[i].isConstant(0) && from[i] == to[i])
      continue;
    SymExpr end = first[i] + to[i] * SymExpr(step);
    // A negative bound counts from the end; INT64_MIN is in front of everything.
    if (step < 0 && end.getConstant() && *end.getConstant() < 0)
      end = INT64_MIN;
    else if (step < 0 && end.lowerBound().value_or(-1) < 0) // as far in front where it turns out negative
      end += SymExpr::min(end, 0) * SymExpr(int64_t(1) << 32);
    starts.push_back(first[i]);
    ends.push_back(end);
    axes.push_back(i);
    steps.push_back(step);
  }
  if (axes.empty())
    return w.out(w.node("Identity", {w.in(0)}));
  w.out(w.node("Slice", {w.in(0), w.sizes(starts), w.sizes(ends), w.ints(axes), w.ints(steps)}));
}

static void pad(OpWriter &w) {
  auto op = w.as<PadOp>();
  Dims pads = getExprs(op.getLow());
  pads.append(getExprs(op.getHigh()));
  w.out(w.node("Pad", {w.in(op.getInput()), w.sizes(pads), w.asScalar(op.getValue())}));
}

/// Indices are i32 or i64 in ONNX.
static Name indices(OpWriter &w, mlir::Value value) {
  mlir::Type type = w.elem(value);
  if (type.isSignlessInteger(32) || type.isSignlessInteger(64))
    return w.in(value);
  return w.cast(w.in(value), mlir::IntegerType::get(w.op->getContext(), 64));
}

static void gather(OpWriter &w) {
  auto op = w.as<GatherOp>();
  w.out(w.node("Gather", {w.in(0), indices(w, op.getIndices())}, {{"axis", int64_t(op.getAxis())}}));
}

static void embedding(OpWriter &w) {
  auto op = w.as<EmbeddingOp>();
  w.out(w.node("Gather", {w.in(0), indices(w, op.getIds())}, {{"axis", 0}}));
}

static void gatherElements(OpWriter &w) {
  auto op = w.as<GatherElementsOp>();
  w.out(w.node("GatherElements", {w.in(0), indices(w, op.getIndices())}, {{"axis", int64_t(op.getAxis())}}));
}

static void gatherND(OpWriter &w) {
  auto op = w.as<GatherNDOp>();
  mlir::Type i64 = mlir::IntegerType::get(w.op->getContext(), 64);
  Name tuples = w.elem(op.getIndices()) == i64 ? w.in(1) : w.cast(w.in(1), i64);
  w.out(w.node("GatherND", {w.in(0), tuples}, {{"batch_dims", int64_t(op.getBatchDims())}}));
}

static void iota(OpWriter &w) {
  auto op = w.as<IotaOp>();
  Dims dims = w.dims(op.getResult());
  int64_t axis = op.getAxis();
  Name index = w.iota(dims[axis], axis, dims.size());
  if (!w.elem(op.getResult()).isSignlessInteger(64))
    index = w.cast(index, w.elem(op.getResult()));
  Dims target = dims;
  target[axis] = 1;
  bool isWide = llvm::any_of(target, [](const SymExpr &dim) { return !dim.isConstant(1); });
  w.out(isWide ? w.node("Expand", {index, w.sizes(target)}) : index);
}

static void trilu(OpWriter &w) {
  auto op = w.as<TriluOp>();
  mlir::Type i64 = mlir::IntegerType::get(w.op->getContext(), 64);
  w.out(w.node("Trilu", {w.in(0), w.scalar(i64, static_cast<double>(int64_t(op.getDiagonal())))},
               {{"upper", op.getUpper()}}));
}

// Places of windows are gathered, one dimension after the other.
static void windows(OpWriter &w) {
  auto op = w.as<WindowsOp>();
  Dims to = w.dims(op.getResult());
  int64_t rank = w.rank(op.getInput());
  Name x = w.in(0);
  for (unsigned i = 0; i < op.getAxes().size(); ++i) {
    int64_t axis = op.getAxes()[i], total = rank + i;
    Ints places;
    for (int64_t k = 0; k < op.getSizes()[i]; ++k)
      places.push_back(k * op.getDilations()[i]);
    Name first = w.mul(w.iota(to[axis], 0, 2), w.ints({op.getStrides()[i]}));
    x = w.node("Gather", {x, w.add(first, w.ints(places))}, {{"axis", axis}});
    Ints perm;
    for (int64_t d = 0; d <= total; ++d)
      if (d != axis + 1)
        perm.push_back(d);
    perm.push_back(axis + 1);
    x = w.transpose(x, perm);
  }
  w.out(x);
}

void onnx_export::addShapeOps(OpTable &t) {
  t.add<ShapeOp>(shape);
  t.add<ReshapeOp>(reshape);
  t.add<BroadcastOp>(broadcast);
  t.add<TransposeOp>(transpose);
  t.add<ConcatOp>(concat);
  t.add<SliceOp>(slice);
  t.add<PadOp>(pad);
  t.add<GatherOp>(gather);
  t.add<EmbeddingOp>(embedding);
  t.add<GatherElementsOp>(gatherElements);
  t.add<GatherNDOp>(gatherND);
  t.add<IotaOp>(iota);
  t.add<TriluOp>(trilu);
  t.add<WindowsOp>(windows);
}
