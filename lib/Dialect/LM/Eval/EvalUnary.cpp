// Elementwise operations of one operand, and conversions.
#include "EvalOps.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

namespace {

template <typename FloatFn, typename IntFn> Result mapBoth(const Tensor &input, FloatFn floatFn, IntFn intFn) {
  if (input.isFloat())
    return mapFloats(input, floatFn);
  Tensor result = input;
  for (int64_t &value : result.mutableInts())
    value = wrapToType(input.getElementType(), intFn(value));
  return result;
}

template <typename Fn> Result mapToBool(const Tensor &input, Fn fn) {
  Result result = Tensor::create(IntegerType::get(input.getElementType().getContext(), 1), input.getDims());
  if (!result)
    return result;
  for (auto [out, value] : llvm::zip(result->mutableInts(), input.floats()))
    out = fn(value);
  return result;
}

int64_t negate(int64_t value) { return static_cast<int64_t>(0 - static_cast<uint64_t>(value)); }

/// As x86 converts: outside of `bits` signed bits the smallest value results.
int64_t truncateToSigned(double value, unsigned bits) {
  double limit = std::ldexp(1.0, bits - 1), whole = std::trunc(value);
  if (!(whole >= -limit && whole < limit))
    return bits == 64 ? INT64_MIN : -(int64_t(1) << (bits - 1));
  return static_cast<int64_t>(whole);
}

/// Types of up to 32 signed bits go by way of i32, ui32 by way of i64, and ui64
/// subtracts 2^63 where needed: what compilers emit for ONNX Runtime's casts.
int64_t floatToInt(double value, Type type) {
  unsigned width = type.getIntOrFloatBitWidth();
  if (width == 1)
    return value != 0.0;
  if (type.isUnsignedInteger() && width == 64 && value >= 0x1p63)
    return truncateToSigned(value - 0x1p63, 64) ^ INT64_MIN;
  bool narrow = width < 32 || (width == 32 && !type.isUnsignedInteger());
  return wrapToType(type, truncateToSigned(value, narrow ? 32 : 64));
}

double sigmoid(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }

} // namespace

/// f8E8M0FNU from the exponent of an f32; infinities and NaN give NaN.
static double convertToExponent(double value, bool saturate, Rounding rounding) {
  auto bits = llvm::bit_cast<uint32_t>(static_cast<float>(value));
  uint32_t exponent = (bits >> 23) & 255, fraction = bits & 0x7fffff;
  if (exponent == 255)
    return std::numeric_limits<double>::quiet_NaN();
  bool up = rounding == Rounding::Up
                ? fraction != 0
                : rounding == Rounding::Nearest && (fraction > 0x400000 || (fraction == 0x400000 && exponent > 0));
  if (up && !(saturate && exponent == 254))
    ++exponent;
  return exponent == 255 ? std::numeric_limits<double>::quiet_NaN() : std::ldexp(1.0, int(exponent) - 127);
}

double eval::convertFloat(Type elementType, double value, bool saturate, Rounding rounding) {
  if (isa<Float8E8M0FNUType>(elementType))
    return convertToExponent(value, saturate, rounding);
  auto type = cast<FloatType>(elementType);
  if (type.getWidth() > 8)
    return roundToType(type, value);
  bool isFourBits = type.getWidth() < 8;
  if (std::isnan(value))
    return isFourBits ? -0.0 : value;
  double largest = llvm::APFloat::getLargest(type.getFloatSemantics()).convertToDouble();
  return roundToType(type, saturate || isFourBits ? std::clamp(value, -largest, largest) : value);
}

Result eval::castTo(const Tensor &input, Type elementType, bool saturate, Rounding rounding) {
  if (elementType == input.getElementType())
    return input;
  Result result = Tensor::create(elementType, input.getDims());
  if (!result)
    return result;
  for (int64_t i = 0, count = input.getNumElements(); i < count; ++i) {
    if (result->isFloat() && !input.isFloat()) {
      // Through a double would round twice for integers beyond 2^53.
      int64_t value = input.ints()[i];
      bool isUnsigned = input.isUnsigned();
      if (elementType.isF32())
        result->mutableFloats()[i] =
            isUnsigned ? static_cast<float>(static_cast<uint64_t>(value)) : static_cast<float>(value);
      else
        result->mutableFloats()[i] = convertFloat(elementType, input.asDouble(i), saturate, rounding);
    } else if (result->isFloat()) {
      result->mutableFloats()[i] = convertFloat(elementType, input.floats()[i], saturate, rounding);
    } else if (input.isFloat()) {
      result->mutableInts()[i] = floatToInt(input.floats()[i], elementType);
    } else {
      int64_t value = input.ints()[i];
      result->mutableInts()[i] = elementType.isInteger(1) ? value != 0 : wrapToType(elementType, value);
    }
  }
  return result;
}

std::optional<Result> eval::evaluateUnary(Operation *op, ArrayRef<Tensor> in, const SymbolBindings &) {
  auto nonNegative = [&](int64_t x) { return in[0].isUnsigned() || x >= 0; };
  return llvm::TypeSwitch<Operation *, std::optional<Result>>(op)
      .Case<NegOp>([&](auto) { return mapBoth(in[0], [](double x) { return -x; }, negate); })
      .Case<AbsOp>([&](auto) {
        return mapBoth(
            in[0], [](double x) { return std::abs(x); }, [&](int64_t x) { return nonNegative(x) ? x : negate(x); });
      })
      .Case<ExpOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::exp(x); }); })
      .Case<LogOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::log(x); }); })
      .Case<SqrtOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::sqrt(x); }); })
      .Case<ReciprocalOp>([&](auto) { return mapFloats(in[0], [](double x) { return 1 / x; }); })
      .Case<SinOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::sin(x); }); })
      .Case<CosOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::cos(x); }); })
      .Case<ErfOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::erf(x); }); })
      .Case<TanhOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::tanh(x); }); })
      .Case<SigmoidOp>([&](auto) { return mapFloats(in[0], sigmoid); })
      .Case<SoftplusOp>([&](auto) {
        return mapFloats(in[0],
                         [](double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); });
      })
      .Case<ReluOp>([&](auto) {
        return mapBoth(
            in[0], [](double x) { return x < 0 ? 0.0 : x; }, [&](int64_t x) { return nonNegative(x) ? x : 0; });
      })
      .Case<SignOp>([&](auto) {
        return mapBoth(
            in[0], [](double x) { return x > 0   ? 1.0
                                         : x < 0 ? -1.0
                                                 : x; },
            [&](int64_t x) { return x == 0           ? 0
                                    : nonNegative(x) ? 1
                                                     : -1; });
      })
      .Case<FloorOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::floor(x); }); })
      .Case<CeilOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::ceil(x); }); })
      .Case<RoundOp>([&](auto) { return mapFloats(in[0], [](double x) { return std::nearbyint(x); }); })
      .Case<NotOp>([&](auto) { return mapBoth(in[0], [](double x) { return x; }, [](int64_t x) { return !x; }); })
      .Case<LeakyReluOp>([&](LeakyReluOp leaky) {
        double alpha = leaky.getAlpha().convertToDouble();
        return mapFloats(in[0], [&](double x) { return x < 0 ? alpha * x : x; });
      })
      .Case<EluOp>([&](EluOp elu) {
        double alpha = elu.getAlpha().convertToDouble();
        return mapFloats(in[0], [&](double x) { return x < 0 ? alpha * std::expm1(x) : x; });
      })
      .Case<IsNaNOp>([&](auto) { return mapToBool(in[0], [](double x) { return std::isnan(x); }); })
      .Case<IsInfOp>([&](IsInfOp isInf) {
        return mapToBool(in[0], [&](double x) {
          return std::isinf(x) && (x < 0 ? isInf.getDetectNegative() : isInf.getDetectPositive());
        });
      })
      .Case<CastOp>([&](CastOp cast) {
        return castTo(in[0], getElementTypeOrSelf(cast.getType()), cast.getSaturate(), cast.getRounding());
      })
      .Case<GeluOp>([&](GeluOp gelu) -> Result {
        switch (gelu.getKind()) {
        case GeluKind::Erf:
          return mapFloats(in[0], [](double x) { return x / 2 * (1 + std::erf(x * M_SQRT1_2)); });
        case GeluKind::Tanh:
          return mapFloats(
              in[0], [](double x) { return x / 2 * (1 + std::tanh(std::sqrt(M_2_PI) * (x + 0.044715 * x * x * x))); });
        case GeluKind::Quick:
          return mapFloats(in[0], [](double x) { return x * sigmoid(1.702 * x); });
        }
        return fail("unknown kind of GELU");
      })
      .Default([](Operation *) { return std::nullopt; });
}
