// Fourier transforms as matrix products, window functions, mel filters.
#include "Spatial.h"

#include "llmopt/Dialect/LM/Eval/Tensor.h"

#include <cmath>

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// Cosines and sines in f64 fold up to so many elements (64 KB); more are computed
/// where the model runs, in f32, of which hardware has them.
static constexpr int64_t kMaxFolded = 8192;

/// The type to compute `count` trigonometric functions in for results of `type`.
static mlir::Type angleType(Node &n, mlir::Type type, const SymExpr &count) {
  std::optional<int64_t> known = count.getConstant();
  bool wide = type.isF64() || (known && *known <= kMaxFolded);
  return wide ? mlir::Type(n.b.getF64Type()) : mlir::Type(n.b.getF32Type());
}

namespace {
/// Complex numbers; a null imaginary part is 0.
struct Complex {
  Value real, imaginary;
};

/// cos and sin of 2 pi j k / length, [from, to].
struct Twiddles {
  Value cos, sin;
};
} // namespace

static Twiddles makeTwiddles(Node &n, mlir::Type type, const SymExpr &from, const SymExpr &to, const SymExpr &length) {
  mlir::Type i64 = n.b.getI64Type(), angles = angleType(n, type, from * to);
  Dims dims{from, to};
  // Whole turns leave the angle before it is a float: it stays in [-pi, pi].
  Value size = sizeScalar(n, length), turn = n.mul(n.iota(i64, dims, 0), n.iota(i64, dims, 1));
  turn = n.create<ModOp>(turn, size, false);
  turn = n.select(n.compare(Predicate::GT, n.mul(turn, 2), size), n.sub(turn, size), turn);
  Value angle = n.div(n.mul(n.cast(turn, angles), 2 * M_PI), n.cast(size, angles));
  return {n.cast(n.create<CosOp>(angle), type), n.cast(n.create<SinOp>(angle), type)};
}

/// The transform over the last dimension, of which `to` elements are kept.
static Complex transform(Node &n, Complex x, const SymExpr &length, const SymExpr &to, bool inverse) {
  mlir::Type type = n.elem(x.real);
  if (n.failed())
    return {};
  auto [cos, sin] = makeTwiddles(n, type, n.dims(x.real).back(), to, length);
  if (!inverse)
    sin = n.create<NegOp>(sin);
  auto times = [&](Value v, Value matrix) { return n.create<MatMulOp>(v, matrix); };
  Complex result{times(x.real, cos), times(x.real, sin)};
  if (x.imaginary) {
    result.real = n.sub(result.real, times(x.imaginary, sin));
    result.imaginary = n.add(result.imaginary, times(x.imaginary, cos));
  }
  if (inverse) {
    Value size = n.cast(sizeScalar(n, length), type);
    result = {n.div(result.real, size), n.div(result.imaginary, size)};
  }
  return result;
}

/// The real signal of `length` elements whose transform begins with x: the rest of
/// the transform is its mirror image, so all but the ends count twice.
static Value realInverse(Node &n, Complex x, const SymExpr &length) {
  mlir::Type type = n.elem(x.real), i64 = n.b.getI64Type();
  if (n.failed())
    return {};
  SymExpr from = n.dims(x.real).back();
  Value k = n.iota(i64, {from}, 0);
  Value single = n.create<OrOp>(n.compare(Predicate::EQ, k, n.scalar(i64, 0)),
                                n.compare(Predicate::EQ, n.mul(k, 2), sizeScalar(n, length)));
  Value weight = n.select(single, n.scalar(type, 1), n.scalar(type, 2));
  return transform(n, {n.mul(x.real, weight), n.mul(x.imaginary, weight)}, length, length, true).real;
}

/// Real parts of x [.., 1] or [.., 2], and imaginary ones where there are any.
static Complex parts(Node &n, Value x) {
  Dims dims = n.dims(x);
  int64_t last = n.rank(x) - 1, count = n.failed() || last < 0 ? 0 : n.staticDim(x, last, "the last dimension");
  if (!n.failed() && (last < 1 || (count != 1 && count != 2)))
    n.error("expected real or complex numbers in the last dimension");
  if (n.failed())
    return {};
  dims.pop_back();
  Complex result{n.reshape(n.slice(x, last, 0, 1), dims), Value()};
  if (count == 2)
    result.imaginary = n.reshape(n.slice(x, last, 1, 1), dims);
  return result;
}

/// [..] and [..] to [.., 2].
static Value joined(Node &n, Complex x) {
  Dims dims = n.dims(x.real);
  dims.push_back(1);
  return n.concat({n.reshape(x.real, dims), n.reshape(x.imaginary, dims)}, static_cast<int64_t>(dims.size()) - 1);
}

/// One size, from an operand with one element.
static SymExpr oneSize(Node &n, Value value, const llvm::Twine &what) {
  Dims sizes = n.values(value, what);
  if (!n.failed() && (sizes.size() != 1 || sizes[0].getConstant().value_or(1) < 1))
    n.error("expected " + what + " to be one positive number");
  return n.failed() ? SymExpr(1) : sizes[0];
}

/// x cut or filled up with zeros to `size` elements along an axis.
static Value fitted(Node &n, Value x, int64_t axis, const SymExpr &size) {
  Dims dims = n.dims(x);
  if (n.failed())
    return {};
  SymExpr more = size - dims[axis];
  Dims low(dims.size(), SymExpr(0)), high = low;
  if (more.lowerBound().value_or(-1) >= 0) {
    high[axis] = more;
    return padOrCut(n, x, low, high, n.scalar(n.elem(x), 0));
  }
  n.require(size, dims[axis]);
  return n.slice(x, axis, 0, size);
}

// The axis was an attribute before opset 20, and counted from the front.
static void dft(Node &n) {
  Value x = n.in(0);
  int64_t rank = n.rank(x), axis = n.opset() < 20 ? n.intAttr("axis", 1) : -2;
  if (n.opset() >= 20 && n.has(2)) {
    Ints given = n.constants(n.in(2), "the axis");
    if (!n.failed() && given.size() != 1)
      n.error("expected one axis");
    axis = given.empty() ? axis : given[0];
  }
  axis = n.axis(axis, rank);
  bool inverse = n.boolAttr("inverse", false), oneSided = n.boolAttr("onesided", false);
  if (!n.failed() && axis == rank - 1)
    n.error("expected an axis before that of real and imaginary parts");
  if (n.failed())
    return;
  bool toReal = inverse && oneSided;
  SymExpr have = n.dims(x)[axis];
  SymExpr length = n.has(1) ? oneSize(n, n.in(1), "the length of the transform")
                   : toReal ? (have - SymExpr(1)) * SymExpr(2)
                            : have;
  SymExpr half = SymExpr::floorDiv(length, 2) + SymExpr(1);
  if (!n.failed() && length.getConstant().value_or(1) < 1)
    n.error("expected a transform of at least one element");
  mlir::Type type = n.elem(x), wide = type.isF64() ? type : mlir::Type(n.b.getF32Type());
  Complex input = parts(n, n.cast(fitted(n, x, axis, toReal ? half : length), wide));
  if (!n.failed() && oneSided && (toReal != static_cast<bool>(input.imaginary)))
    n.error(toReal ? "expected complex numbers for a real result" : "expected real numbers for a one-sided result");
  if (n.failed())
    return;
  // The axis goes last, and back.
  Ints there = axesBetween(0, rank - 1), back = there;
  there.erase(there.begin() + axis);
  there.push_back(axis);
  for (auto [i, p] : llvm::enumerate(there))
    back[p] = i;
  back.push_back(rank - 1);
  input.real = n.transpose(input.real, there);
  if (input.imaginary)
    input.imaginary = n.transpose(input.imaginary, there);
  Value result;
  if (toReal) {
    result = realInverse(n, input, length);
    Dims dims = n.dims(result);
    dims.push_back(1);
    result = n.reshape(result, dims);
  } else {
    result = joined(n, transform(n, input, length, oneSided ? half : length, inverse));
  }
  n.out(n.cast(n.transpose(result, back), type));
}

// signal [batch, length, 1 or 2] to [batch, frames, bins, 2]
static void stft(Node &n) {
  Value x = n.in(0), window = n.opt(2);
  Ints step = n.constants(n.in(1), "the step between frames");
  if (!n.failed() && (n.rank(x) != 3 || step.size() != 1 || step[0] < 1))
    n.error("expected a signal of rank 3 and a positive step");
  if (!n.failed() && window && n.rank(window) != 1)
    n.error("expected a window of rank 1");
  if (n.failed())
    return;
  SymExpr wanted = n.has(3) ? oneSize(n, n.in(3), "the length of a frame") : window ? n.dims(window)[0] : n.dims(x)[1];
  std::optional<int64_t> length = wanted.getConstant();
  if (!n.failed() && !length)
    n.unsupported("with frames of '" + wanted.str() + "' elements", "pass frame_length as a constant");
  if (!n.failed() && window && (n.dims(window)[0] - wanted).getConstant() != 0)
    n.error("expected a window of " + wanted.str() + " elements, but got " + n.dims(window)[0].str());
  if (n.failed())
    return;
  n.require(wanted, n.dims(x)[1]);
  mlir::Type type = n.elem(x), wide = type.isF64() ? type : mlir::Type(n.b.getF32Type());
  // [batch, frames, 1 or 2, length]
  Value frames = n.create<WindowsOp>(n.cast(x, wide), Ints{1}, Ints{*length}, Ints{step[0]}, Ints{1});
  if (window)
    frames = n.mul(frames, n.cast(window, wide));
  Complex input = parts(n, n.transpose(frames, {0, 1, 3, 2}));
  bool oneSided = n.boolAttr("onesided", true) && !input.imaginary;
  Complex result = transform(n, input, wanted, oneSided ? SymExpr(*length / 2 + 1) : wanted, false);
  n.out(n.cast(joined(n, result), type));
}

/// a - b cos(2 pi i / size) + c cos(4 pi i / size)
static void cosineWindow(Node &n, double a, double b, double c) {
  SymExpr size = oneSize(n, n.in(0), "the size");
  std::string error;
  mlir::Type type = onnx_import::getElementType(n.b.getContext(), n.intAttr("output_datatype", 1), error);
  if (!type)
    return n.unsupported("of " + error);
  // A symmetric window has its end again at the last element; one element is the middle.
  SymExpr period = n.boolAttr("periodic", true) ? size : SymExpr::max(size - SymExpr(1), 1);
  mlir::Type angles = angleType(n, type, size);
  Value turn = n.div(n.iota(angles, {size}, 0), n.cast(sizeScalar(n, period), angles));
  auto wave = [&](double turns, double height) {
    return n.mul(n.create<CosOp>(n.mul(turn, turns * 2 * M_PI)), height);
  };
  Value result = n.add(wave(1, -b), a);
  if (c != 0)
    result = n.add(result, wave(2, c));
  n.out(n.cast(result, type));
}

static void hannWindow(Node &n) { cosineWindow(n, 0.5, 0.5, 0); }
static void hammingWindow(Node &n) { cosineWindow(n, 25.0 / 46, 21.0 / 46, 0); }
static void blackmanWindow(Node &n) { cosineWindow(n, 0.42, 0.5, 0.08); }

/// The one element of a constant, integer or float.
static double oneNumber(Node &n, Value value, const llvm::Twine &what) {
  if (n.failed())
    return 0;
  if (!n.isFloat(value)) {
    Ints ints = n.constants(value, what);
    if (ints.size() == 1)
      return static_cast<double>(ints[0]);
  } else if (std::optional<double> number = n.constantFloat(value)) {
    return *number;
  }
  n.error("expected " + what + " to be one constant");
  return 0;
}

// Triangles over the bins of a transform, of equal width on the mel scale
// 2595 log10(1 + f / 700); ends are whole bins.
static void melWeightMatrix(Node &n) {
  const char *names[] = {"the number of mel bins", "the length of the transform", "the sample rate", "the lower edge",
                         "the upper edge"};
  double numbers[5];
  for (unsigned i = 0; i < 5; ++i)
    numbers[i] = oneNumber(n, n.in(i), names[i]);
  auto [bands, length, rate, lower, upper] = numbers;
  std::string error;
  mlir::Type type = onnx_import::getElementType(n.b.getContext(), n.intAttr("output_datatype", 1), error);
  if (!n.failed() &&
      !(bands >= 1 && length >= 1 && bands * length <= 1 << 22 && rate >= 1 && lower >= 0 && upper >= lower))
    n.error("expected at least one bin of a transform, and edges in order");
  if (!n.failed() && !type)
    n.unsupported("of " + error);
  if (n.failed())
    return;
  auto count = static_cast<int64_t>(bands), bins = static_cast<int64_t>(length) / 2 + 1;
  auto toMel = [](double f) { return 2595 * std::log1p(f / 700) / std::log(10.0); };
  double step = (toMel(upper) - toMel(lower)) / (bands + 2);
  llvm::SmallVector<int64_t> edges;
  for (int64_t i = 0; i < count + 2; ++i) {
    double f = 700 * std::expm1((static_cast<double>(i) * step + toMel(lower)) / 2595 * std::log(10.0));
    edges.push_back(static_cast<int64_t>(std::floor((length + 1) * f / rate)));
  }
  if (edges.back() > bins)
    return n.error("expected an upper edge of at most half the sample rate");
  std::vector<double> values(bins * count);
  for (int64_t i = 0; i < count; ++i) {
    int64_t left = edges[i], middle = edges[i + 1], right = edges[i + 2];
    for (int64_t j = left; j < right && j < bins; ++j)
      values[j * count + i] = j < middle ? static_cast<double>(j - left) / static_cast<double>(middle - left)
                                         : static_cast<double>(right - j) / static_cast<double>(right - middle);
    if (middle < bins && (left == middle || middle == right))
      values[middle * count + i] = 1;
  }
  llvm::Expected<Tensor> result = llvm::isa<mlir::FloatType>(type)
                                      ? Tensor::fromFloats(type, {bins, count}, values)
                                      : Tensor::fromInts(type, {bins, count}, Ints(values.begin(), values.end()));
  if (!result)
    return n.error(llvm::toString(result.takeError()));
  n.out(n.constant(result->toAttr()));
}

void onnx_import::addSignalOps(OpTable &t) {
  t.add(kOnnx, "DFT", dft);
  t.add(kOnnx, "STFT", stft);
  t.add(kOnnx, "HannWindow", hannWindow);
  t.add(kOnnx, "HammingWindow", hammingWindow);
  t.add(kOnnx, "BlackmanWindow", blackmanWindow);
  t.add(kOnnx, "MelWeightMatrix", melWeightMatrix);
}
