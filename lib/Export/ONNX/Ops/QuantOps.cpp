// Quantization. QuantizeLinear and DequantizeLinear know parameters per tensor and
// along one axis; others (per token, per block) are written out.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::lm;
using namespace llmopt::onnx_export;
using mlir::Value;

namespace {

/// How parameters lie over a tensor.
struct Layout {
  bool isStandard = false;
  /// The axis, where there is one.
  std::optional<int64_t> axis;
};

} // namespace

static Layout getLayout(OpWriter &w, Value x, Value parameter) {
  Dims dims = w.dims(parameter), whole = w.dims(x);
  int64_t skip = whole.size() - dims.size();
  Layout layout;
  for (auto [i, dim] : llvm::enumerate(dims)) {
    if (dim.isConstant(1))
      continue;
    if (layout.axis || dim != whole[skip + i])
      return layout;
    layout.axis = skip + i;
  }
  layout.isStandard = true;
  return layout;
}

/// Both parameters in one layout that the operators of ONNX know.
static std::optional<Layout> getLayout(OpWriter &w, Value x, Value scale, Value zero) {
  Layout layout = getLayout(w, x, scale);
  if (!layout.isStandard)
    return std::nullopt;
  if (zero) {
    Layout other = getLayout(w, x, zero);
    if (!other.isStandard || other.axis != layout.axis)
      return std::nullopt;
  }
  return layout;
}

/// A parameter as a scalar or, with an axis, as a vector.
static Name parameter(OpWriter &w, Value value, const Layout &layout) {
  if (!value)
    return "";
  int64_t wanted = layout.axis ? 1 : 0;
  return w.rank(value) == wanted ? w.in(value) : w.reshape(w.in(value), layout.axis ? Ints{-1} : Ints{});
}

static bool isInteger(mlir::Type type) { return llvm::isa<mlir::IntegerType>(type); }

/// The operator set whose QuantizeLinear knows a type, with such scales.
static int64_t quantizedSince(mlir::Type type, mlir::Type scale) {
  int64_t since = scale.isF32() ? 13 : std::max<int64_t>(19, getOpsetOf(scale));
  if (isInteger(type) && type.getIntOrFloatBitWidth() > 8)
    return std::max<int64_t>(since, 21);
  return std::max(since, getOpsetOf(type));
}

/// saturate(round(x / scale) + zero_point), in the type of the scale. Of lm.quantize or
/// lm.fake_quantize.
template <typename Op> static Name roundSteps(OpWriter &w, Op op, mlir::Type to) {
  mlir::Type precision = w.elem(op.getScale());
  unsigned bits = to.getIntOrFloatBitWidth();
  bool isUnsigned = to.isUnsignedInteger();
  double low = isUnsigned ? 0 : -double(1 << (bits - 1)), high = isUnsigned ? (1 << bits) - 1 : (1 << (bits - 1)) - 1;
  if (op.getNarrowRange())
    low += 1;
  Name x = w.in(op.getInput());
  if (w.elem(op.getInput()) != precision)
    x = w.cast(x, precision);
  x = w.node("Round", {w.node("Div", {x, w.in(op.getScale())})});
  if (op.getZeroPoint())
    x = w.add(x, w.cast(w.in(op.getZeroPoint()), precision));
  return w.node("Clip", {x, w.scalar(precision, low), w.scalar(precision, high)});
}

static void quantizeSteps(OpWriter &w, QuantizeOp op) {
  mlir::Type to = w.elem(op.getResult());
  unsigned bits = to.getIntOrFloatBitWidth();
  if (!isInteger(to) || bits > 8)
    return w.error("lm.quantize to " + llvm::Twine(bits) +
                   " bits with such scales has no ONNX form; per tensor and along "
                   "one axis it has");
  w.out(w.cast(roundSteps(w, op, to), to));
}

/// The scale, where it is one constant and there is no zero point.
static std::optional<double> getConstantScale(Value scale, Value zero) {
  auto constant = scale.getDefiningOp<ConstantOp>();
  auto dense = constant ? llvm::dyn_cast<mlir::DenseFPElementsAttr>(constant.getValue()) : mlir::DenseFPElementsAttr();
  if (!dense || dense.getNumElements() != 1 || zero)
    return std::nullopt;
  return (*dense.begin()).convertToDouble();
}

static void quantize(OpWriter &w) {
  auto op = w.as<QuantizeOp>();
  mlir::Type to = w.elem(op.getResult());
  std::optional<Layout> layout = getLayout(w, op.getInput(), op.getScale(), op.getZeroPoint());
  // Without a zero point the result would be ui8, so there must be one to say the type.
  std::optional<int64_t> length =
      layout && layout->axis ? w.dims(op.getInput())[*layout->axis].getConstant() : std::optional<int64_t>(1);
  // A narrow range is a clipped input, where the scale is one number that is known.
  std::optional<double> known = op.getNarrowRange() ? getConstantScale(op.getScale(), op.getZeroPoint()) : std::nullopt;
  if (!layout || (op.getNarrowRange() && !known) || (!op.getZeroPoint() && !length))
    return quantizeSteps(w, op);
  Name x = w.in(op.getInput()), zero = parameter(w, op.getZeroPoint(), *layout);
  if (known) {
    double limit = *known * ((1 << (to.getIntOrFloatBitWidth() - 1)) - 1);
    mlir::Type type = w.elem(op.getInput());
    x = w.node("Clip", {x, w.scalar(type, -limit), w.scalar(type, limit)});
  }
  if (w.elem(op.getInput()) != w.elem(op.getScale()))
    x = w.cast(x, w.elem(op.getScale()));
  if (zero.empty()) {
    auto type =
        mlir::RankedTensorType::get(layout->axis ? llvm::ArrayRef<int64_t>(*length) : llvm::ArrayRef<int64_t>(), to);
    zero = w.graph.constant(llvm::cast<mlir::ElementsAttr>(mlir::Builder(w.op->getContext()).getZeroAttr(type)),
                            "zero_point");
  }
  llvm::SmallVector<Attr> attrs;
  if (layout->axis)
    attrs.push_back({"axis", *layout->axis});
  if (!op.getSaturate())
    attrs.push_back({"saturate", 0});
  w.out(w.node("QuantizeLinear", {x, parameter(w, op.getScale(), *layout), zero}, attrs,
               quantizedSince(to, w.elem(op.getScale()))));
}

/// The scale is the largest magnitude of the input over qmax: nothing is clipped.
static bool fitsItsScale(FakeQuantizeOp op) {
  auto scale = op.getScale().getDefiningOp<AbsMaxScaleOp>();
  return scale && scale.getInput() == op.getInput() && !op.getZeroPoint() &&
         scale.getQmax().convertToDouble() <= double((1 << (op.getStorage().getIntOrFloatBitWidth() - 1)) - 1);
}

// QuantizeLinear and DequantizeLinear around a value that stays in floats, also
// where it is a weight.
static void fakeQuantize(OpWriter &w) {
  auto op = w.as<FakeQuantizeOp>();
  mlir::Type to = op.getStorage(), type = w.elem(op.getInput());
  unsigned bits = to.getIntOrFloatBitWidth();
  if ((bits & (bits - 1)) || bits < 4)
    return w.error("lm.fake_quantize to " + llvm::Twine(bits) + " bits has no ONNX form; to 4, 8 and 16 it has");
  std::optional<Layout> layout = getLayout(w, op.getInput(), op.getScale(), op.getZeroPoint());
  std::optional<int64_t> length =
      layout && layout->axis ? w.dims(op.getInput())[*layout->axis].getConstant() : std::optional<int64_t>(1);
  std::optional<double> known = op.getNarrowRange() ? getConstantScale(op.getScale(), op.getZeroPoint()) : std::nullopt;
  bool needsClip = op.getNarrowRange() && !fitsItsScale(op);
  if (!layout || !length || (needsClip && !known)) {
    Name q = roundSteps(w, op, to);
    if (op.getZeroPoint())
      q = w.sub(q, w.cast(w.in(op.getZeroPoint()), type));
    return w.out(w.mul(q, w.in(op.getScale())));
  }
  Name x = w.in(op.getInput()), scale = parameter(w, op.getScale(), *layout);
  Name zero = parameter(w, op.getZeroPoint(), *layout);
  if (needsClip) {
    double limit = *known * ((1 << (bits - 1)) - 1);
    x = w.node("Clip", {x, w.scalar(type, -limit), w.scalar(type, limit)});
  }
  if (zero.empty()) {
    auto zeros =
        mlir::RankedTensorType::get(layout->axis ? llvm::ArrayRef<int64_t>(*length) : llvm::ArrayRef<int64_t>(), to);
    zero = w.graph.constant(llvm::cast<mlir::ElementsAttr>(mlir::Builder(w.op->getContext()).getZeroAttr(zeros)),
                            "zero_point");
  }
  llvm::SmallVector<Attr> attrs;
  if (layout->axis)
    attrs.push_back({"axis", *layout->axis});
  int64_t since = quantizedSince(to, type);
  Name q = w.node("QuantizeLinear", {x, scale, zero}, attrs, since);
  w.out(w.node("DequantizeLinear", {q, scale, zero}, attrs, since));
}

static void dequantize(OpWriter &w) {
  auto op = w.as<DequantizeOp>();
  mlir::Type from = w.elem(op.getInput()), to = w.elem(op.getResult());
  if (std::optional<Layout> layout = getLayout(w, op.getInput(), op.getScale(), op.getZeroPoint())) {
    llvm::SmallVector<Attr> attrs;
    if (layout->axis)
      attrs.push_back({"axis", *layout->axis});
    return w.out(
        w.node("DequantizeLinear",
               {w.in(op.getInput()), parameter(w, op.getScale(), *layout), parameter(w, op.getZeroPoint(), *layout)},
               attrs, from.isSignlessInteger(32) ? 13 : quantizedSince(from, to)));
  }
  // Differences of such integers are exact in every float type but these.
  if (to.getIntOrFloatBitWidth() < 32 && from.getIntOrFloatBitWidth() >= 8 && op.getZeroPoint())
    return w.error("lm.dequantize to 16 bits with such scales and zero points has no ONNX form; per tensor and along "
                   "one axis it has");
  Name x = w.cast(w.in(op.getInput()), to);
  if (op.getZeroPoint())
    x = w.sub(x, w.cast(w.in(op.getZeroPoint()), to));
  w.out(w.mul(x, w.in(op.getScale())));
}

static void absMaxScale(OpWriter &w) {
  auto op = w.as<AbsMaxScaleOp>();
  mlir::Type type = w.elem(op.getResult());
  Name largest = w.node("ReduceMax", {w.node("Abs", {w.in(0)}), w.ints(op.getAxes())}, {{"keepdims", 1}});
  Name scale = w.node("Div", {largest, w.scalar(type, op.getQmax().convertToDouble())});
  Name isZero = w.node("Equal", {scale, w.scalar(type, 0)});
  w.out(w.node("Where", {isZero, w.scalar(type, 1), scale}));
}

void onnx_export::addQuantOps(OpTable &t) {
  t.add<QuantizeOp>(quantize);
  t.add<DequantizeOp>(dequantize);
  t.add<FakeQuantizeOp>(fakeQuantize);
  t.add<AbsMaxScaleOp>(absMaxScale);
}
