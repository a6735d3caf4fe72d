// Operators that change or read shapes. Shapes among the operands are resolved
// here: they are constants or #lm.sym by the time a node is imported.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

static void shape(Node &n) {
  Value x = n.in(0);
  int64_t rank = n.rank(x);
  auto limit = [&](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + rank : i, 0, rank); };
  int64_t start = limit(n.intAttr("start", 0)), end = limit(n.intAttr("end", rank));
  Value all = n.create<ShapeOp>(x);
  if (start == 0 && end == rank)
    return n.out(all);
  n.out(n.slice(all, 0, start, std::max<int64_t>(end - start, 0)));
}

static void size(Node &n) {
  Value shape = n.create<ShapeOp>(n.in(0));
  n.out(n.reduce(ReduceKind::Prod, shape, {0}, /*keepDims=*/false));
}

// 0 copies a dimension, -1 takes what is left.
static void reshape(Node &n) {
  Value x = n.in(0);
  Dims wanted;
  if (n.opset() < 5) {
    for (int64_t dim : n.intsAttr("shape").value_or(Ints()))
      wanted.push_back(dim);
  } else {
    wanted = n.values(n.in(1), "the shape");
  }
  if (n.failed())
    return;
  Dims dims = n.dims(x);
  bool keepZero = n.boolAttr("allowzero", false);
  std::optional<size_t> rest;
  SymExpr others(1);
  for (auto [i, dim] : llvm::enumerate(wanted)) {
    if (dim.isConstant(0) && !keepZero) {
      if (i >= dims.size())
        return n.error("expected a shape whose 0 at " + llvm::Twine(i) + " copies a dimension");
      dim = dims[i];
    }
    std::optional<int64_t> constant = dim.getConstant();
    if (constant == -1) {
      if (rest)
        return n.error("expected at most one -1 in the shape");
      rest = i;
      continue;
    }
    if (constant && *constant < 0)
      return n.error("expected sizes that are not negative, but got " + dim.str());
    others *= dim;
  }
  if (rest) {
    SymExpr total = product(dims);
    std::optional<SymExpr> exact = SymExpr::divideExactly(total, others);
    std::optional<int64_t> a = total.getConstant(), b = others.getConstant();
    if (a && b && (*b == 0 || *a % *b))
      return n.error("expected a shape for " + total.str() + " elements, but the given sizes make " + others.str());
    wanted[*rest] = exact ? *exact : SymExpr::floorDiv(total, others);
  }
  n.out(n.reshape(x, wanted));
}

static void flatten(Node &n) {
  Value x = n.in(0);
  int64_t rank = n.rank(x), axis = n.intAttr("axis", 1);
  if (axis < -rank || axis > rank)
    return n.error("expected an axis in [" + llvm::Twine(-rank) + ", " + llvm::Twine(rank) + "], but got " +
                   llvm::Twine(axis));
  Dims dims = n.dims(x);
  llvm::ArrayRef<SymExpr> all(dims);
  axis = axis < 0 ? axis + rank : axis;
  n.out(n.reshape(x, {product(all.take_front(axis)), product(all.drop_front(axis))}));
}

static void squeeze(Node &n) {
  Value x = n.in(0);
  std::optional<Ints> given = n.intsFrom(1, "axes");
  Dims dims = n.dims(x), result;
  if (n.failed())
    return;
  Ints axes;
  if (given) {
    axes = n.axes(*given, dims.size());
    for (int64_t axis : axes)
      if (dims[axis].getConstant().value_or(1) != 1)
        return n.error("expected dimension " + llvm::Twine(axis) + " to be 1, but got " + dims[axis].str());
      else if (!dims[axis].getConstant())
        n.require(dims[axis], 1);
  } else {
    for (auto [i, dim] : llvm::enumerate(dims)) {
      if (!dim.getConstant())
        return n.unsupported("without axes, on dimensions that are not known",
                             "fix the shapes of the inputs with -shape");
      if (dim.isConstant(1))
        axes.push_back(i);
    }
  }
  for (auto [i, dim] : llvm::enumerate(dims))
    if (!llvm::is_contained(axes, static_cast<int64_t>(i)))
      result.push_back(dim);
  n.out(n.reshape(x, result));
}

static void unsqueeze(Node &n) {
  Value x = n.in(0);
  std::optional<Ints> given = n.intsFrom(1, "axes");
  if (!n.failed() && !given)
    n.error("expected axes");
  if (n.failed())
    return;
  Dims dims = n.dims(x), result;
  int64_t rank = dims.size() + given->size();
  Ints axes = n.axes(*given, rank);
  for (int64_t i = 0, next = 0; i < rank && !n.failed(); ++i)
    result.push_back(llvm::is_contained(axes, i) ? SymExpr(1) : dims[next++]);
  n.out(n.reshape(x, result));
}

static void transpose(Node &n) {
  Value x = n.in(0);
  int64_t rank = n.rank(x);
  std::optional<Ints> perm = n.intsAttr("perm");
  if (!perm) {
    perm.emplace();
    for (int64_t i = rank; i-- > 0;)
      perm->push_back(i);
  }
  n.out(n.transpose(x, *perm));
}

static void expand(Node &n) {
  Value x = n.in(0);
  Dims wanted = n.values(n.in(1), "the shape");
  if (n.failed())
    return;
  mlir::FailureOr<Dims> dims = broadcastDims(n.dims(x), wanted);
  if (mlir::failed(dims))
    return n.error("expected a shape that the operand broadcasts to");
  n.out(n.broadcast(x, *dims));
}

// [a, b] repeated [2, 3] times: [1, a, 1, b] broadcast to [2, a, 3, b].
static void tile(Node &n) {
  Value x = n.in(0);
  Dims dims = n.dims(x), repeats = n.values(n.in(1), "the repeats");
  if (n.opset() < 6) { // one axis, repeated `tiles` times
    Dims tiles = repeats, axis = n.values(n.in(2), "the axis");
    repeats.assign(dims.size(), SymExpr(1));
    if (n.failed() || tiles.empty() || axis.empty() || !axis[0].getConstant())
      return n.error("expected one number of tiles and one axis");
    repeats[n.axis(*axis[0].getConstant(), dims.size())] = tiles[0];
  }
  if (n.failed())
    return;
  if (repeats.size() != dims.size())
    return n.error("expected " + llvm::Twine(dims.size()) + " repeats, but got " + llvm::Twine(repeats.size()));
  Dims apart, wide, result;
  for (auto [dim, count] : llvm::zip(dims, repeats)) {
    if (count.getConstant().value_or(0) < 0)
      return n.error("expected repeats that are not negative");
    apart.append({SymExpr(1), dim});
    wide.append({count, dim});
    result.push_back(count * dim);
  }
  n.out(n.reshape(n.broadcast(n.reshape(x, apart), wide), result));
}

static void concat(Node &n) {
  llvm::SmallVector<Value> inputs;
  for (unsigned i = 0; i < n.numInputs(); ++i)
    inputs.push_back(n.in(i));
  if (n.failed() || inputs.empty())
    return n.error("expected at least one input");
  if (n.opset() >= 4 && !n.attr("axis"))
    return n.error("expected attribute 'axis'");
  n.out(n.concat(inputs, n.axis(n.intAttr("axis", 1), n.rank(inputs[0]))));
}

static void range(Node &n) {
  Value start = n.in(0), limit = n.in(1), delta = n.in(2);
  mlir::Type type = n.elem(start);
  if (n.failed())
    return;
  SymExpr count;
  if (n.isFloat(start)) {
    auto a = n.constantFloat(start), b = n.constantFloat(limit), step = n.constantFloat(delta);
    if (!a || !b || !step || *step == 0)
      return n.error("expected bounds that are constant, and a step other than 0");
    double length = std::ceil((*b - *a) / *step);
    if (!(length < 1e9))
      return n.error("expected fewer elements");
    count = static_cast<int64_t>(std::max(length, 0.0));
  } else {
    Dims a = n.values(start, "the start"), b = n.values(limit, "the limit");
    Ints step = n.constants(delta, "the step");
    if (n.failed())
      return;
    if (a.size() != 1 || b.size() != 1 || step.size() != 1 || step[0] == 0)
      return n.error("expected scalars, and a step other than 0");
    SymExpr distance = step[0] > 0 ? b[0] - a[0] : a[0] - b[0];
    SymExpr width(std::abs(step[0]));
    count = SymExpr::max(SymExpr::ceilDiv(distance, width), 0);
  }
  Value index = n.iota(type, {count}, 0);
  auto scalarOf = [&](Value v) { return n.reshape(v, {}); };
  if (n.isFloat(start) ? n.constantFloat(delta) != 1.0 : n.constants(delta, "the step")[0] != 1)
    index = n.mul(index, scalarOf(delta));
  std::optional<Dims> first = getSymbolicValue(start);
  bool fromZero = n.isFloat(start) ? n.constantFloat(start) == 0.0 : first->front().isConstant(0);
  n.out(fromZero ? index : n.add(index, scalarOf(start)));
}

static void eyeLike(Node &n) {
  Value x = n.in(0);
  Dims dims = n.dims(x);
  std::string error;
  mlir::Type type = n.elem(x);
  if (n.attr("dtype"))
    type = onnx_import::getElementType(n.b.getContext(), n.intAttr("dtype", 1), error);
  if (!type)
    return n.unsupported("of " + error);
  if (dims.size() != 2)
    return n.error("expected a matrix");
  Value row = n.iota(n.b.getI64Type(), dims, 0), column = n.iota(n.b.getI64Type(), dims, 1);
  Value diagonal = n.add(row, n.scalar(n.b.getI64Type(), n.intAttr("k", 0)));
  n.out(n.cast(n.compare(Predicate::EQ, diagonal, column), type));
}

static void trilu(Node &n) {
  Value x = n.in(0);
  int64_t k = 0;
  if (n.has(1)) {
    Ints given = n.constants(n.in(1), "the diagonal");
    k = given.empty() ? 0 : given[0];
  }
  n.out(n.create<TriluOp>(x, k, n.boolAttr("upper", true)));
}

// Blocks of the channel dimension become squares of the image, and back.
static void depthToSpace(Node &n) {
  Value x = n.in(0);
  Dims d = n.dims(x);
  int64_t block = n.intAttr("blocksize", 0);
  std::string mode = n.stringAttr("mode", "DCR");
  if (d.size() != 4 || block <= 0 || block > 4096)
    return n.error("expected rank 4 and a positive blocksize");
  SymExpr s(block), inner = n.quotient(d[1], s * s, "the number of channels");
  if (n.failed())
    return;
  Value split =
      mode == "CRD" ? n.reshape(x, {d[0], inner, s, s, d[2], d[3]}) : n.reshape(x, {d[0], s, s, inner, d[2], d[3]});
  Value moved = n.transpose(split, mode == "CRD" ? Ints{0, 1, 4, 2, 5, 3} : Ints{0, 3, 4, 1, 5, 2});
  n.out(n.reshape(moved, {d[0], inner, d[2] * s, d[3] * s}));
}

static void spaceToDepth(Node &n) {
  Value x = n.in(0);
  Dims d = n.dims(x);
  int64_t block = n.intAttr("blocksize", 0);
  if (d.size() != 4 || block <= 0 || block > 4096)
    return n.error("expected rank 4 and a positive blocksize");
  SymExpr s(block), h = n.quotient(d[2], s, "the height"), w = n.quotient(d[3], s, "the width");
  if (n.failed())
    return;
  Value split = n.reshape(x, {d[0], d[1], h, s, w, s});
  n.out(n.reshape(n.transpose(split, {0, 3, 5, 1, 2, 4}), {d[0], s * s * d[1], h, w}));
}

void onnx_import::addShapeOps(OpTable &t) {
  t.add(kOnnx, "Shape", shape);
  t.add(kOnnx, "Size", size);
  t.add(kOnnx, "Reshape", reshape);
  t.add(kOnnx, "Flatten", flatten);
  t.add(kOnnx, "Squeeze", squeeze);
  t.add(kOnnx, "Unsqueeze", unsqueeze);
  t.add(kOnnx, "Transpose", transpose);
  t.add(kOnnx, "Expand", expand);
  t.add(kOnnx, "Tile", tile);
  t.add(kOnnx, "Concat", concat);
  t.add(kOnnx, "Range", range, 11);
  t.add(kOnnx, "EyeLike", eyeLike);
  t.add(kOnnx, "Trilu", trilu);
  t.add(kOnnx, "DepthToSpace", depthToSpace);
  t.add(kOnnx, "SpaceToDepth", spaceToDepth);
}
