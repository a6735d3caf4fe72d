// Pools: reductions of sliding windows.
#include "Ops/QuantBuilder.h"
#include "Spatial.h"

#include <limits>

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// The windows' own dimensions, last.
static Ints windowAxes(Node &n, Value windows, const Spatial &s) {
  return axesBetween(n.rank(windows) - static_cast<int64_t>(s.rank()), n.rank(windows));
}

/// Sums of short floats overflow where means do not: they are made in f32.
static Value widened(Node &n, Value x) { return n.elem(x).isF64() ? x : n.cast(x, n.b.getF32Type()); }

/// Nothing is smaller.
static Value lowest(Node &n, mlir::Type type) {
  if (llvm::isa<mlir::FloatType>(type))
    return n.scalar(type, -std::numeric_limits<double>::infinity());
  unsigned width = type.getIntOrFloatBitWidth();
  return n.scalar(type, type.isUnsignedInteger() ? 0.0 : -std::ldexp(1.0, static_cast<int>(width) - 1));
}

/// Where in the whole operand each window has its largest element: the first
/// one, row major or (`columns`) with the first spatial dimension varying fastest.
static Value indicesOfMax(Node &n, Value x, Value windows, Value best, const Spatial &s, bool columns) {
  mlir::Type i64 = n.b.getI64Type(), i32 = n.b.getI32Type();
  Dims dims = n.dims(x), out = n.dims(best), wide = out;
  if (n.failed())
    return {};
  int64_t rank = s.rank();
  wide.append(rank, SymExpr(1));
  Value hit = n.compare(Predicate::EQ, windows, n.reshape(best, wide));
  if (s.isPadded()) { // padding has the value of the largest element where there is no larger one
    Value inside = n.filled(n.b.getI1Type(), 1, llvm::ArrayRef<SymExpr>(dims).drop_front(2));
    hit = n.create<AndOp>(hit, makeWindows(n, inside, s, n.scalar(n.b.getI1Type(), 0)));
  }
  Dims flat = out;
  flat.push_back(product(s.kernel));
  Value place = n.create<ArgReduceOp>(n.reshape(n.cast(hit, i32), flat), rank + 2, /*keepdims=*/false,
                                      /*smallest=*/false, /*last=*/false);
  // From the place in the window to the place in the image, innermost first.
  Ints order = axesBetween(0, rank);
  Value position;
  for (int64_t i : llvm::reverse(order)) {
    Value size = sizeScalar(n, s.kernel[i]), within = n.create<ModOp>(place, size, false);
    place = n.div(place, size);
    Value at = n.add(n.mul(n.iota(i64, out, 2 + i), s.strides[i]), n.mul(within, s.dilations[i]));
    SymExpr stride(1);
    for (int64_t j = columns ? 0 : i + 1; j < (columns ? i : rank); ++j)
      stride *= dims[2 + j];
    at = n.mul(n.sub(at, sizeScalar(n, s.low[i])), sizeScalar(n, stride));
    position = position ? n.add(position, at) : at;
  }
  // Images follow one another.
  Value image = n.add(n.mul(n.iota(i64, out, 0), sizeScalar(n, dims[1])), n.iota(i64, out, 1));
  SymExpr size = product(llvm::ArrayRef<SymExpr>(dims).drop_front(2));
  return n.add(n.mul(image, sizeScalar(n, size)), position);
}

static void maxPool(Node &n) {
  Value x = n.in(0);
  std::optional<Spatial> s = readSpatial(n, x, asDims(readKernelShape(n, x)));
  if (!s)
    return;
  Value windows = makeWindows(n, x, *s, lowest(n, n.elem(x)));
  Value best = n.reduce(ReduceKind::Max, windows, windowAxes(n, windows, *s), false);
  n.out(0, best);
  if (n.wants(1))
    n.out(1, indicesOfMax(n, x, windows, best, *s, n.boolAttr("storage_order", false)));
}

// Indices are those of a MaxPool, into the whole of an operand of the size that this
// pool came from; a larger output_shape has zeros behind.
static void maxUnpool(Node &n) {
  Value x = n.in(0), indices = n.in(1);
  size_t rank = readKernelShape(n, x).size();
  Ints kernel = readInts(n, "kernel_shape", rank, 1, 1), strides = readInts(n, "strides", rank, 1, 1),
       pads = readInts(n, "pads", 2 * rank, 0, 0);
  Dims dims = n.dims(x), whole = dims;
  if (!n.failed() && n.rank(indices) != n.rank(x))
    n.error("expected indices of the input's rank");
  if (n.failed())
    return;
  for (size_t i = 0; i < rank; ++i)
    whole[2 + i] = (dims[2 + i] - SymExpr(1)) * SymExpr(strides[i]) + SymExpr(kernel[i] - pads[i] - pads[rank + i]);
  mlir::Type type = n.elem(x);
  SymExpr count = product(dims);
  Value zeros = n.filled(type, 0, {product(whole)});
  Value result =
      n.create<ScatterElementsOp>(ScatterKind::None, zeros, n.reshape(indices, {count}), n.reshape(x, {count}), 0);
  result = n.reshape(result, whole);
  if (n.has(2)) {
    Dims wanted = n.values(n.in(2), "the output's shape"), none(whole.size(), SymExpr(0));
    if (!n.failed() && wanted.size() != whole.size())
      n.error("expected " + llvm::Twine(whole.size()) + " sizes, but got " + llvm::Twine(wanted.size()));
    for (size_t i = 0; i < whole.size() && !n.failed(); ++i)
      wanted[i] = wanted[i] - whole[i];
    result = padOrCut(n, result, none, wanted, n.scalar(type, 0));
  }
  n.out(result);
}

/// The number of elements of each window along dimension i that count, [counts[i]];
/// a scalar where all windows have the same.
static Value countsAlong(Node &n, mlir::Type type, const Spatial &s, size_t i, const SymExpr &size, bool withPads) {
  bool same = s.extra[i].isConstant(0) && (withPads || (s.low[i].isConstant(0) && s.high[i].isConstant(0)));
  if (same)
    return n.cast(sizeScalar(n, s.kernel[i]), type);
  Spatial one;
  one.kernel = {s.kernel[i]};
  one.strides = {s.strides[i]};
  one.dilations = {s.dilations[i]};
  one.low = {withPads ? SymExpr(0) : s.low[i]};
  one.high = {withPads ? SymExpr(0) : s.high[i]};
  one.extra = {s.extra[i]};
  one.counts = {s.counts[i]};
  Value counted = n.filled(type, 1, {withPads ? size + s.low[i] + s.high[i] : size});
  return n.reduce(ReduceKind::Sum, makeWindows(n, counted, one, n.scalar(type, 0)), {1}, false);
}

/// A scale or a zero point as a scalar.
static Value asOneElement(Node &n, Value v) { return v && !n.failed() && n.rank(v) == 1 ? n.reshape(v, {}) : v; }

static Value averageOf(Node &n, Value x) {
  std::optional<Spatial> s = readSpatial(n, x, asDims(readKernelShape(n, x)));
  if (!s)
    return {};
  bool withPads = n.boolAttr("count_include_pad", false);
  Value wide = widened(n, x);
  mlir::Type type = n.elem(wide);
  Value windows = makeWindows(n, wide, *s, n.scalar(type, 0));
  Value sum = n.reduce(ReduceKind::Sum, windows, windowAxes(n, windows, *s), false), count;
  for (size_t i = 0; i < s->rank(); ++i) {
    Value along = countsAlong(n, type, *s, i, n.dims(x)[2 + i], withPads);
    if (n.rank(along) == 1) {
      Dims wide(s->rank() - i, SymExpr(1));
      wide[0] = s->counts[i];
      along = n.reshape(along, wide);
    }
    count = count ? n.mul(count, along) : along;
  }
  return n.cast(n.div(sum, count), n.elem(x));
}

static void averagePool(Node &n) {
  Value average = averageOf(n, n.in(0));
  if (!n.failed())
    n.out(average);
}

// ONNX Runtime's, of quantized values: the average of the real ones, where pads are 0.
static void quantizedAveragePool(Node &n) {
  if (n.boolAttr("channels_last", false))
    return n.unsupported("with channels_last", "optimize without NHWC layouts");
  Value zero = asOneElement(n, n.opt(2)), outZero = asOneElement(n, n.opt(4));
  Value real = n.create<DequantizeOp>(n.in(0), asOneElement(n, n.in(1)), zero);
  Value average = n.failed() ? Value() : averageOf(n, real);
  if (!n.failed())
    n.out(quantizeTo(n, average, asOneElement(n, n.in(3)), outZero, n.elem(n.in(0))));
}

/// (sum |x|^p)^(1/p) over `axes`.
static Value lpNorm(Node &n, Value x, llvm::ArrayRef<int64_t> axes, double p, bool keepDims) {
  if (!n.failed() && !(p > 0))
    n.error("expected a positive p");
  Value wide = widened(n, x);
  mlir::Type type = n.elem(wide);
  if (p == 1 || p == 2)
    return n.cast(n.reduce(p == 1 ? ReduceKind::L1 : ReduceKind::L2, wide, axes, keepDims), n.elem(x));
  Value powers = n.create<PowOp>(n.create<AbsOp>(wide), n.scalar(type, p));
  Value sum = n.reduce(ReduceKind::Sum, powers, axes, keepDims);
  return n.cast(n.create<PowOp>(sum, n.scalar(type, 1 / p)), n.elem(x));
}

/// A float before opset 2.
static double readP(Node &n) { return n.opset() < 2 ? n.floatAttr("p", 2) : n.intAttr("p", 2); }

static void lpPool(Node &n) {
  Value x = n.in(0);
  std::optional<Spatial> s = readSpatial(n, x, asDims(readKernelShape(n, x)));
  if (!s)
    return;
  Value windows = makeWindows(n, x, *s, n.scalar(n.elem(x), 0));
  n.out(lpNorm(n, windows, windowAxes(n, windows, *s), readP(n), false));
}

static void globalLpPool(Node &n) {
  Value x = n.in(0);
  if (!n.failed() && n.rank(x) < 3)
    n.error("expected a rank of at least 3, but got " + llvm::Twine(n.rank(x)));
  n.out(lpNorm(n, x, axesBetween(2, n.rank(x)), readP(n), true));
}

// x / (bias + alpha / size * sum of the squares of `size` neighbouring channels)^beta
static void lrn(Node &n) {
  Value x = n.in(0);
  int64_t size = n.intAttr("size", 0), rank = n.rank(x);
  if (!n.failed() && (rank < 2 || size < 1 || size > 1 << 20))
    n.error("expected a rank of at least 2 and a positive size");
  if (n.failed())
    return;
  Value wide = widened(n, x);
  mlir::Type type = n.elem(wide);
  Dims low(rank, SymExpr(0)), high(rank, SymExpr(0));
  low[1] = (size - 1) / 2;
  high[1] = size / 2;
  Value padded = padOrCut(n, wide, low, high, n.scalar(type, 0));
  Value windows = n.create<WindowsOp>(padded, Ints{1}, Ints{size}, Ints{1}, Ints{1});
  Value squares = n.reduce(ReduceKind::SumSquare, windows, {rank}, false);
  Value base = n.add(n.mul(squares, n.floatAttr("alpha", 1e-4f) / size), n.floatAttr("bias", 1.0f));
  Value result = n.div(wide, n.create<PowOp>(base, n.scalar(type, n.floatAttr("beta", 0.75f))));
  n.out(n.cast(result, n.elem(x)));
}

void onnx_import::addPoolOps(OpTable &t) {
  t.add(kOnnx, "MaxPool", maxPool);
  t.add(kOnnx, "MaxUnpool", maxUnpool);
  t.add(kOnnx, "AveragePool", averagePool);
  t.add(kMicrosoft, "QLinearAveragePool", quantizedAveragePool);
  t.add(kOnnx, "LpPool", lpPool);
  t.add(kOnnx, "GlobalLpPool", globalLpPool);
  t.add(kOnnx, "LRN", lrn);
}
