// Resize, Upsample and CenterCropPad.
//
// Resizing goes axis by axis. Positions are computed in f64, as ONNX's reference
// does; where sizes are known they fold to tables of indices and weights.
#include "Interpolation.h"
#include "Spatial.h"

#include <cmath>

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

namespace {

struct Method {
  std::string mode, nearest, transform;
  double cubicA = -0.75, extrapolation = 0;
  bool antialias = false, excludeOutside = false;
};

/// One axis: its sizes, what a step of the result is in the operand, and (for
/// tf_crop_and_resize) which part of the operand is taken.
struct Stretch {
  SymExpr from, to;
  Value scale;                 // f64; to / from, or what the model says
  std::optional<double> known; // the same, where it is a number
  Value width;                 // f64; from * scale, not rounded
  Value start, end;            // in the model's type, or null
  /// Steps of the operand in one and in two of the result, rounded up, and no less
  /// than that: how far a kernel reaches that is as wide as the coarser grid's step.
  SymExpr reach[2] = {1, 2};
};

class Resizer {
public:
  Resizer(Node &n, Method method) : n(n), method(std::move(method)), f64(n.b.getF64Type()) {}

  Value resize(Value x, int64_t axis, const Stretch &s);

private:
  Value number(double value) { return n.scalar(f64, value); }
  Value real(const SymExpr &size) { return n.cast(sizeScalar(n, size), f64); }
  Value sub(Value x, double y) { return n.add(x, -y); }
  Value positions(const Stretch &s);
  Value nearest(Value position, const Stretch &s);
  Value interpolate(Value x, int64_t axis, Value position, const Stretch &s);

  Node &n;
  Method method;
  mlir::Type f64;
};

} // namespace

/// Where element 0, 1, .. of the result lies in the operand, [to].
Value Resizer::positions(const Stretch &s) {
  const std::string &mode = method.transform;
  Value i = n.iota(f64, {s.to}, 0), last = sub(real(s.from), 1);
  Value half = sub(n.div(n.add(i, 0.5), s.scale), 0.5);
  Value isOne = n.compare(Predicate::EQ, s.width, number(1));
  Value gaps = n.select(isOne, number(1), sub(s.width, 1));
  if (mode == "half_pixel")
    return half;
  if (mode == "asymmetric")
    return n.div(i, s.scale);
  if (mode == "pytorch_half_pixel")
    return n.select(n.compare(Predicate::GT, real(s.to), number(1)), half, number(0));
  if (mode == "half_pixel_symmetric") {
    Value adjustment = n.div(real(s.to), s.width);
    return n.add(n.mul(n.mul(real(s.from), 0.5), n.sub(number(1), adjustment)), half);
  }
  if (mode == "align_corners")
    return n.select(isOne, number(0), n.div(n.mul(i, last), gaps));
  if (mode == "tf_crop_and_resize" && s.start) {
    // In the region's own type 0.2 * 5 is a whole number, as everywhere else.
    Value part = n.mul(n.cast(n.sub(s.end, s.start), f64), last);
    Value inside = n.select(isOne, n.mul(part, 0.5), n.div(n.mul(i, part), gaps));
    return n.add(inside, n.cast(n.mul(s.start, n.cast(last, n.elem(s.start))), f64));
  }
  if (mode == "tf_crop_and_resize")
    n.error("expected a region of interest");
  else
    n.unsupported("with coordinate_transformation_mode '" + printable(mode) + "'");
  return {};
}

Value Resizer::nearest(Value position, const Stretch &s) {
  if (method.nearest == "round_prefer_floor")
    return n.create<CeilOp>(sub(position, 0.5));
  if (method.nearest == "round_prefer_ceil")
    return n.create<FloorOp>(n.add(position, 0.5));
  if (method.nearest == "floor")
    return n.create<FloorOp>(position);
  if (method.nearest == "ceil")
    return n.create<CeilOp>(position);
  if (method.nearest == "simple") // before opset 11
    return n.select(n.compare(Predicate::LT, s.scale, number(1)), n.create<CeilOp>(position),
                    n.create<FloorOp>(position));
  n.unsupported("with nearest_mode '" + printable(method.nearest) + "'");
  return {};
}

Value Resizer::interpolate(Value x, int64_t axis, Value position, const Stretch &s) {
  bool cubic = method.mode == "cubic";
  SymExpr first = cubic ? SymExpr(-1) : SymExpr(0);
  Value shrink;
  if (method.antialias && s.known) {
    double ratio = std::min(*s.known, 1.0);
    first = static_cast<int64_t>(std::floor((cubic ? -2 : -1) / ratio)) + 1;
    shrink = number(ratio);
  } else if (method.antialias) {
    first = SymExpr(1) - s.reach[cubic ? 1 : 0];
    shrink = n.create<MinOp>(s.scale, number(1));
  }
  Near near = elementsNear(n, position, first, SymExpr(2) - SymExpr(2) * first);
  Value distance = shrink ? n.mul(near.distance, shrink) : near.distance;
  Value weight = cubic ? cubicWeight(n, distance, method.cubicA) : linearWeight(n, distance);
  if (method.excludeOutside)
    weight = n.select(isInside(n, near.place, s.from), weight, number(0));
  if (method.excludeOutside || method.antialias) {
    Value sum = n.reduce(ReduceKind::Sum, weight, {1});
    weight = n.div(weight, n.select(n.compare(Predicate::EQ, sum, number(0)), number(1), sum));
  }
  // [.., to, taps, ..] times [to, taps, 1..]
  Value taps = n.create<GatherOp>(x, asIndex(n, near.place, s.from), axis);
  Dims wide = n.dims(weight);
  wide.append(n.rank(x) - axis - 1, SymExpr(1));
  return n.reduce(ReduceKind::Sum, n.mul(taps, n.reshape(n.cast(weight, n.elem(x)), wide)), {axis + 1}, false);
}

Value Resizer::resize(Value x, int64_t axis, const Stretch &s) {
  Value position = positions(s);
  if (n.failed())
    return {};
  Value result = method.mode == "nearest" ? n.create<GatherOp>(x, asIndex(n, nearest(position, s), s.from), axis)
                                          : interpolate(x, axis, position, s);
  if (method.transform != "tf_crop_and_resize")
    return result;
  Value last = sub(real(s.from), 1);
  Value outside =
      n.create<OrOp>(n.compare(Predicate::LT, position, number(0)), n.compare(Predicate::GT, position, last));
  Dims wide{s.to};
  wide.append(n.rank(x) - axis - 1, SymExpr(1));
  return n.select(n.reshape(outside, wide), n.scalar(n.elem(x), method.extrapolation), result);
}

/// floor(size * scale); floats are fractions of a power of two.
static SymExpr scaledSize(Node &n, const SymExpr &size, double scale) {
  if (std::optional<int64_t> known = size.getConstant()) {
    double scaled = std::floor(static_cast<double>(*known) * scale);
    if (scaled >= 0 && scaled < 1LL << 31)
      return SymExpr(static_cast<int64_t>(scaled));
    n.error("expected fewer elements");
    return SymExpr(1);
  }
  for (int64_t part = 1; part <= int64_t(1) << 40; part *= 2)
    if (double whole = scale * static_cast<double>(part); whole == std::floor(whole) && whole < 1 << 30)
      return SymExpr::floorDiv(size * SymExpr(static_cast<int64_t>(whole)), part);
  n.unsupported("of a dimension that depends on the shapes of inputs by " + std::to_string(scale),
                "fix the shapes with -shape");
  return SymExpr(1);
}

/// The smallest (or largest) of to / from over the axes, in f64.
static Value smallestRatio(Node &n, const Ints &axes, const Dims &dims, const Dims &sizes, bool smallest) {
  mlir::Type f64 = n.b.getF64Type();
  Value result;
  for (auto [axis, size] : llvm::zip(axes, sizes)) {
    Value ratio = n.div(n.cast(sizeScalar(n, size), f64), n.cast(sizeScalar(n, dims[axis]), f64));
    if (!result)
      result = ratio;
    else
      result = smallest ? n.create<MinOp>(result, ratio) : n.create<MaxOp>(result, ratio);
  }
  return result;
}

/// `from` elements times that ratio, rounded to the nearest number, halves up: since
/// rounding keeps order, the smallest (largest) of what each ratio gives.
static SymExpr keptSize(const Ints &axes, const Dims &dims, const Dims &sizes, const SymExpr &from, bool smallest) {
  std::optional<SymExpr> result;
  for (auto [axis, size] : llvm::zip(axes, sizes)) {
    SymExpr two(2), scaled = SymExpr::floorDiv(two * size * from + dims[axis], two * dims[axis]);
    result = !result ? scaled : smallest ? SymExpr::min(*result, scaled) : SymExpr::max(*result, scaled);
  }
  return result.value_or(from);
}

/// How far `steps` of the result reach in the operand, for the smallest (largest) ratio.
static SymExpr reachOf(const Ints &axes, const Dims &dims, const Dims &sizes, int64_t steps, bool smallest) {
  std::optional<SymExpr> result;
  for (auto [axis, size] : llvm::zip(axes, sizes)) {
    SymExpr reach = SymExpr::ceilDiv(SymExpr(steps) * dims[axis], size);
    result = !result ? reach : smallest ? SymExpr::max(*result, reach) : SymExpr::min(*result, reach);
  }
  return SymExpr::max(result.value_or(1), steps);
}

/// What ONNX makes of scales and sizes for the given axes.
static std::vector<Stretch> stretches(Node &n, Value x, const Ints &axes,
                                      const std::optional<llvm::SmallVector<double>> &scales, Dims sizes) {
  mlir::Type f64 = n.b.getF64Type();
  std::vector<Stretch> result;
  Dims dims = n.dims(x);
  std::string policy = n.stringAttr("keep_aspect_ratio_policy", "stretch");
  std::optional<double> common; // the one scale, where it is a number
  Value commonScale;            // where it is not
  bool keeps = !scales && policy != "stretch", smallest = policy == "not_larger";
  if (keeps) {
    if (!smallest && policy != "not_smaller")
      n.error("unknown keep_aspect_ratio_policy '" + printable(policy) + "'");
    for (auto [axis, size] : llvm::zip(axes, sizes)) {
      std::optional<int64_t> from = dims[axis].getConstant(), to = size.getConstant();
      if (!from || !to) {
        commonScale = smallestRatio(n, axes, dims, sizes, smallest);
        break;
      }
      double scale = static_cast<double>(*to) / static_cast<double>(*from);
      common = !common ? scale : smallest ? std::min(*common, scale) : std::max(*common, scale);
    }
    if (commonScale)
      common.reset();
  }
  for (auto [i, axis] : llvm::enumerate(axes)) {
    Stretch s;
    s.from = dims[axis];
    std::optional<int64_t> from = s.from.getConstant();
    if (common && from)
      s.to = static_cast<int64_t>(*common * static_cast<double>(*from) + 0.5);
    else if (commonScale)
      s.to = keptSize(axes, dims, sizes, s.from, smallest);
    else
      s.to = scales ? scaledSize(n, s.from, (*scales)[i]) : sizes[i];
    std::optional<int64_t> to = s.to.getConstant();
    if (from.value_or(1) < 1 || to.value_or(1) < 1)
      n.error("expected sizes that are positive, but got " + s.from.str() + " and " + s.to.str());
    if (common || scales)
      s.known = common ? *common : (*scales)[i];
    else if (from && to && !keeps)
      s.known = static_cast<double>(*to) / static_cast<double>(*from);
    Value real = n.cast(sizeScalar(n, s.from), f64);
    s.scale = s.known       ? n.scalar(f64, *s.known)
              : commonScale ? commonScale
                            : n.div(n.cast(sizeScalar(n, s.to), f64), real);
    for (int64_t steps : {1, 2})
      s.reach[steps - 1] =
          keeps ? reachOf(axes, dims, sizes, steps, smallest) : reachOf({0}, {s.from}, {s.to}, steps, true);
    s.width = common || commonScale || scales ? n.mul(real, s.scale) : n.cast(sizeScalar(n, s.to), f64);
    if (n.failed())
      return {};
    result.push_back(s);
  }
  return result;
}

/// Whether nothing happens along an axis.
static bool isIdentity(const Stretch &s, const Method &method) {
  return s.from == s.to && s.known == 1.0 && method.transform != "tf_crop_and_resize";
}

static void resizeAlong(Node &n, Value x, const Ints &axes, llvm::ArrayRef<Stretch> stretches, const Method &method) {
  if (method.mode != "nearest" && method.mode != "linear" && method.mode != "cubic")
    n.error("unknown mode '" + printable(method.mode) + "'");
  if (n.failed())
    return;
  // Sums are made in f32 at least; for integers they are rounded and limited.
  mlir::Type type = n.elem(x), wide = type;
  bool narrow = method.mode != "nearest" && !type.isF32() && !type.isF64();
  if (narrow)
    wide = type.isInteger() && type.getIntOrFloatBitWidth() > 16 ? mlir::Type(n.b.getF64Type()) : n.b.getF32Type();
  Value result = n.cast(x, wide);
  Resizer resizer(n, method);
  for (auto [axis, stretch] : llvm::zip(axes, stretches))
    if (!isIdentity(stretch, method))
      result = resizer.resize(result, axis, stretch);
  if (narrow && type.isInteger()) {
    int width = static_cast<int>(type.getIntOrFloatBitWidth()) - !type.isUnsignedInteger();
    // The largest number below 2^width that the wide type has.
    double high = width > 53 ? std::ldexp(1.0, width) - std::ldexp(1.0, width - 53) : std::ldexp(1.0, width) - 1;
    double low = type.isUnsignedInteger() ? 0 : -std::ldexp(1.0, width);
    result = n.create<ClipOp>(n.create<RoundOp>(result), n.scalar(wide, low), n.scalar(wide, high));
  }
  n.out(n.cast(result, type));
}

/// The scales of input or attribute; an error where they are not known.
static std::optional<llvm::SmallVector<double>> readScales(Node &n, Value scales, const Ints &axes) {
  std::optional<llvm::SmallVector<double>> result = constantFloats(scales);
  if (!result)
    n.unsupported("with scales that depend on data", "pass them as constants, or use sizes");
  else if (result->size() != axes.size() || llvm::any_of(*result, [](double s) { return !(s > 0 && s < 1 << 20); }))
    n.error("expected " + llvm::Twine(axes.size()) + " positive scales");
  return n.failed() ? std::nullopt : result;
}

static bool isEmpty(Node &n, Value value) { return product(n.dims(value)).isConstant(0); }

static void resize(Node &n) {
  Value x = n.in(0);
  Ints axes = axesBetween(0, n.rank(x));
  if (std::optional<Ints> given = n.intsAttr("axes"))
    axes = n.axes(*given, n.rank(x));
  Method method;
  method.mode = n.stringAttr("mode", "nearest");
  method.nearest = n.stringAttr("nearest_mode", n.opset() < 11 ? "simple" : "round_prefer_floor");
  method.transform = n.stringAttr("coordinate_transformation_mode", n.opset() < 11 ? "asymmetric" : "half_pixel");
  method.cubicA = n.floatAttr("cubic_coeff_a", -0.75f);
  method.extrapolation = n.floatAttr("extrapolation_value", 0);
  method.excludeOutside = n.boolAttr("exclude_outside", false);
  method.antialias = n.boolAttr("antialias", false) && method.mode != "nearest";
  Value scales = n.opt(n.opset() < 11 ? 1 : 2), sizes = n.opt(3), roi = n.opset() < 11 ? Value() : n.opt(1);
  std::optional<llmopt::onnx_import::Dims> wanted;
  std::optional<llvm::SmallVector<double>> factors;
  if (sizes && !isEmpty(n, sizes))
    wanted = n.values(sizes, "the sizes");
  else if (scales && !n.failed())
    factors = readScales(n, scales, axes);
  else if (!n.failed())
    n.error("expected scales or sizes");
  if (!n.failed() && wanted && wanted->size() != axes.size())
    n.error("expected " + llvm::Twine(axes.size()) + " sizes, but got " + llvm::Twine(wanted->size()));
  if (n.failed())
    return;
  std::vector<Stretch> all = stretches(n, x, axes, factors, wanted.value_or(Dims()));
  if (roi && method.transform == "tf_crop_and_resize") {
    int64_t count = axes.size();
    if (n.rank(roi) != 1 || !n.dims(roi)[0].isConstant(2 * count))
      n.error("expected a region of interest of " + llvm::Twine(2 * count) + " numbers");
    for (auto [i, s] : llvm::enumerate(all)) {
      s.start = n.reshape(n.slice(roi, 0, static_cast<int64_t>(i), 1), {});
      s.end = n.reshape(n.slice(roi, 0, static_cast<int64_t>(i) + count, 1), {});
    }
  }
  resizeAlong(n, x, axes, all, method);
}

// Scales were an attribute before opset 9.
static void upsample(Node &n) {
  Value x = n.in(0);
  Ints axes = axesBetween(0, n.rank(x));
  Value scales;
  if (n.opset() >= 9)
    scales = n.in(1);
  else if (const onnx::AttributeProto *a = n.attr("scales"))
    scales = n.constant(
        mlir::DenseElementsAttr::get(mlir::RankedTensorType::get({a->floats_size()}, n.b.getF32Type()),
                                     llvm::ArrayRef<float>(a->floats().data(), static_cast<size_t>(a->floats_size()))));
  else
    n.error("expected attribute 'scales'");
  std::optional<llvm::SmallVector<double>> factors = n.failed() ? std::nullopt : readScales(n, scales, axes);
  if (n.failed())
    return;
  Method method;
  method.mode = n.stringAttr("mode", "nearest");
  if (method.mode == "bilinear")
    method.mode = "linear";
  method.nearest = "floor";
  method.transform = "asymmetric";
  resizeAlong(n, x, axes, stretches(n, x, axes, factors, {}), method);
}

// The middle of each axis, or the axis in the middle of zeros; of an odd difference
// the larger half is behind.
static void centerCropPad(Node &n) {
  Value x = n.in(0);
  Dims dims = n.dims(x), sizes = n.values(n.in(1), "the shape");
  Ints axes = axesBetween(0, n.rank(x));
  if (std::optional<Ints> given = n.intsAttr("axes"))
    axes = n.axes(*given, n.rank(x));
  if (!n.failed() && sizes.size() != axes.size())
    n.error("expected " + llvm::Twine(axes.size()) + " sizes, but got " + llvm::Twine(sizes.size()));
  if (n.failed())
    return;
  Dims starts(dims.size(), SymExpr(0)), kept = dims, low = starts, high = starts;
  for (auto [axis, size] : llvm::zip(axes, sizes)) {
    const SymExpr dim = dims[axis];
    kept[axis] = SymExpr::min(dim, size);
    starts[axis] = SymExpr::max(SymExpr::floorDiv(dim - size, 2), 0);
    low[axis] = SymExpr::max(SymExpr::floorDiv(size - dim, 2), 0);
    high[axis] = size - kept[axis] - low[axis];
  }
  Value cut = kept == dims ? x : n.create<SliceOp>(x, starts, kept);
  n.out(padOrCut(n, cut, low, high, n.scalar(n.elem(x), 0)));
}

void onnx_import::addResizeOps(OpTable &t) {
  t.add(kOnnx, "Resize", resize);
  t.add(kOnnx, "Upsample", upsample);
  t.add(kOnnx, "CenterCropPad", centerCropPad);
}
