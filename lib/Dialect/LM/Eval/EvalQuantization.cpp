// Explicit quantization.
#include "EvalOps.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

namespace {

Result evaluateAbsMaxScale(AbsMaxScaleOp op, const Tensor &input) {
  Dims dims(input.getDims());
  for (int64_t axis : op.getAxes())
    dims[axis] = 1;
  Result result = Tensor::create(input.getElementType(), dims);
  if (!result)
    return result;
  MutableArrayRef<double> out = result->mutableFloats();
  Dims own = rowMajorStrides(input.getDims()), strides = rowMajorStrides(dims);
  for (int64_t n = 0, count = input.getNumElements(); n < count; ++n) {
    int64_t to = 0;
    for (int64_t i = 0; i < input.getRank(); ++i)
      to += dims[i] == 1 ? 0 : n / own[i] % dims[i] * strides[i];
    double magnitude = std::abs(input.floats()[n]);
    if (magnitude > out[to] || std::isnan(magnitude))
      out[to] = magnitude;
  }
  double qmax = op.getQmax().convertToDouble();
  for (double &value : out)
    value = value == 0 ? 1.0 : roundToType(input.getElementType(), value / qmax);
  return result;
}

/// `operand` with the dimensions of `input`; zeros of `type` where it is absent.
Result parameterFor(const Tensor &input, ArrayRef<Tensor> in, size_t index, bool present, Type type) {
  return present ? broadcastTo(in[index], input.getDims()) : Tensor::create(type, input.getDims());
}

/// The integers of a type; NaN becomes the smallest one.
struct IntegerRange {
  double low, high;
  IntegerRange(Type type, bool narrow) {
    unsigned width = type.getIntOrFloatBitWidth();
    bool isUnsigned = type.isUnsignedInteger();
    low = isUnsigned ? 0 : -std::ldexp(1.0, width - 1) + (narrow ? 1 : 0);
    high = std::ldexp(1.0, isUnsigned ? width : width - 1) - 1;
  }
  double saturate(double q) const { return std::isnan(q) ? low : std::clamp(q, low, high); }
};

Result evaluateQuantize(QuantizeOp op, ArrayRef<Tensor> in) {
  const Tensor &input = in[0];
  Type type = getElementTypeOrSelf(op.getType());
  Result scale = broadcastTo(in[1], input.getDims());
  if (!scale)
    return scale;
  Result zeroPoint = parameterFor(input, in, 2, static_cast<bool>(op.getZeroPoint()), type);
  if (!zeroPoint)
    return zeroPoint;
  Result result = Tensor::create(type, input.getDims());
  if (!result)
    return result;
  if (result->isFloat()) {
    for (int64_t i = 0, count = input.getNumElements(); i < count; ++i) {
      double quotient = roundToType(scale->getElementType(), input.floats()[i] / scale->floats()[i]);
      double shifted = roundToType(scale->getElementType(), quotient + zeroPoint->asDouble(i));
      result->mutableFloats()[i] = convertFloat(type, shifted, op.getSaturate(), Rounding::Nearest);
    }
    return result;
  }
  IntegerRange range(type, op.getNarrowRange());
  for (int64_t i = 0, count = input.getNumElements(); i < count; ++i) {
    double quotient = roundToType(scale->getElementType(), input.floats()[i] / scale->floats()[i]);
    result->mutableInts()[i] = static_cast<int64_t>(range.saturate(std::nearbyint(quotient) + zeroPoint->asDouble(i)));
  }
  return result;
}

Result evaluateFakeQuantize(FakeQuantizeOp op, ArrayRef<Tensor> in) {
  const Tensor &input = in[0];
  Result scale = broadcastTo(in[1], input.getDims());
  if (!scale)
    return scale;
  Result zeroPoint = parameterFor(input, in, 2, static_cast<bool>(op.getZeroPoint()), op.getStorage());
  if (!zeroPoint)
    return zeroPoint;
  IntegerRange range(op.getStorage(), op.getNarrowRange());
  Type type = scale->getElementType();
  MutableArrayRef<double> out = scale->mutableFloats();
  for (int64_t i = 0, count = input.getNumElements(); i < count; ++i) {
    double zero = zeroPoint->asDouble(i);
    double q = range.saturate(std::nearbyint(roundToType(type, input.floats()[i] / out[i])) + zero);
    out[i] = roundToType(type, (q - zero) * out[i]);
  }
  return scale;
}

Result evaluateDequantize(DequantizeOp op, ArrayRef<Tensor> in) {
  const Tensor &input = in[0];
  Result scale = broadcastTo(in[1], input.getDims());
  if (!scale)
    return scale;
  Result zeroPoint = parameterFor(input, in, 2, static_cast<bool>(op.getZeroPoint()), input.getElementType());
  if (!zeroPoint)
    return zeroPoint;
  Type type = scale->getElementType();
  MutableArrayRef<double> out = scale->mutableFloats();
  for (int64_t i = 0, count = input.getNumElements(); i < count; ++i)
    out[i] = roundToType(type, (input.asDouble(i) - zeroPoint->asDouble(i)) * out[i]);
  return scale;
}

} // namespace

std::optional<Result> eval::evaluateQuantization(Operation *op, ArrayRef<Tensor> in, const SymbolBindings &) {
  return llvm::TypeSwitch<Operation *, std::optional<Result>>(op)
      .Case<AbsMaxScaleOp>([&](AbsMaxScaleOp scale) { return evaluateAbsMaxScale(scale, in[0]); })
      .Case<QuantizeOp>([&](QuantizeOp quantize) { return evaluateQuantize(quantize, in); })
      .Case<FakeQuantizeOp>([&](FakeQuantizeOp fake) { return evaluateFakeQuantize(fake, in); })
      .Case<DequantizeOp>([&](DequantizeOp dequantize) { return evaluateDequantize(dequantize, in); })
      .Default([](Operation *) { return std::nullopt; });
}
