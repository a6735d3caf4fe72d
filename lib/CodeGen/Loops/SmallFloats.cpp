// Conversions to types narrower than a byte or a half: integers of 2 and 4 bits,
// floats of 4 and 8. Between load and store such a float is an F32 that the
// narrow type has; in memory it is a byte, which a table turns back.
#include "Emitter.h"

#include "llvm/ADT/APFloat.h"

#include <cmath>

using namespace llmopt;
using namespace llmopt::loops;

namespace {
/// Significant bits, least exponent of a normal number, largest number, and what
/// is beyond it when nothing saturates.
struct Format {
  const llvm::fltSemantics &semantics;
  int precision, minExponent;
  double largest;
  bool infinities, negativeZero;
};
} // namespace

static Format formatOf(Elem elem) {
  switch (elem) {
  case Elem::F8E4M3FN:
    return {llvm::APFloat::Float8E4M3FN(), 4, -6, 448, false, true};
  case Elem::F8E4M3FNUZ:
    return {llvm::APFloat::Float8E4M3FNUZ(), 4, -7, 240, false, false};
  case Elem::F8E5M2:
    return {llvm::APFloat::Float8E5M2(), 3, -14, 57344, true, true};
  case Elem::F8E5M2FNUZ:
    return {llvm::APFloat::Float8E5M2FNUZ(), 3, -15, 57344, false, false};
  case Elem::F8E8M0:
    return {llvm::APFloat::Float8E8M0FNU(), 1, -127, 0x1p127, false, false};
  default:
    return {llvm::APFloat::Float4E2M1FN(), 2, 0, 6, false, true};
  }
}

S Emitter::wrap(S value, unsigned bits) {
  int64_t mask = (int64_t(1) << bits) - 1, sign = int64_t(1) << (bits - 1);
  S low = b.op(Opcode::And, {value, b.constant(value.elem, mask)});
  if (isUnsigned(value.elem))
    return low;
  S flipped = b.op(Opcode::Xor, {low, b.constant(value.elem, sign)});
  return b.op(Opcode::Sub, {flipped, b.constant(value.elem, sign)});
}

S Emitter::castTo(S value, mlir::Type type, bool saturate, lm::Rounding rounding) {
  Elem to = *elemOf(type);
  if (isSmallFloat(to))
    return roundTo(cast(value, Elem::F32), to, saturate, rounding);
  S result = cast(value, to);
  if (to == Elem::F16 || to == Elem::BF16)
    return b.op(to == Elem::F16 ? Opcode::RoundF16 : Opcode::RoundBF16, {result});
  unsigned bits = type.getIntOrFloatBitWidth();
  return bits > 1 && bits < 8 ? wrap(result, bits) : result;
}

S Emitter::toExponent(S value, bool saturate, lm::Rounding rounding) {
  auto u32 = [&](int64_t i) { return b.constant(Elem::U32, i); };
  S bits = b.op(Opcode::ToBits, {value}, Elem::U32), unit = u32(0x800000), one = u32(1), zero = u32(0);
  S exponent = b.op(Opcode::And, {b.op(Opcode::Div, {bits, unit}), u32(255)});
  S fraction = b.op(Opcode::And, {bits, u32(0x7fffff)});
  S up = b.constant(Elem::Bool, int64_t(0));
  if (rounding == lm::Rounding::Up) {
    up = b.op(Opcode::Ne, {fraction, zero});
  } else if (rounding == lm::Rounding::Nearest) {
    S half = u32(0x400000), isHalf = b.op(Opcode::Eq, {fraction, half});
    S counts = b.op(Opcode::And, {isHalf, b.op(Opcode::Gt, {exponent, zero})});
    up = b.op(Opcode::Or, {b.op(Opcode::Gt, {fraction, half}), counts});
  }
  up = b.op(Opcode::And, {up, b.op(Opcode::Lt, {exponent, u32(saturate ? 254 : 255)})});
  exponent = b.op(Opcode::Add, {exponent, b.op(Opcode::Select, {up, one, zero})});
  S result = b.op(Opcode::Mul, {exponent, unit});
  // Exponent 0 is 2^-127, a subnormal number; 255 is NaN.
  result = b.op(Opcode::Select, {b.op(Opcode::Eq, {exponent, zero}), u32(0x400000), result});
  result = b.op(Opcode::Select, {b.op(Opcode::Eq, {exponent, u32(255)}), u32(0x7fc00000), result});
  return b.op(Opcode::FromBits, {result}, Elem::F32);
}

// A number is a whole multiple of the unit in its last place, which its exponent
// gives: division and product by a power of two are exact.
S Emitter::roundTo(S value, Elem elem, bool saturate, lm::Rounding rounding) {
  if (elem == Elem::F8E8M0)
    return toExponent(value, saturate, rounding);
  Format format = formatOf(elem);
  auto u32 = [&](int64_t i) { return b.constant(Elem::U32, i); };
  S bits = b.op(Opcode::ToBits, {value}, Elem::U32), unit = u32(0x800000);
  S exponent = b.op(Opcode::And, {b.op(Opcode::Div, {bits, unit}), u32(255)});
  exponent = b.op(Opcode::Max, {exponent, u32(format.minExponent + 127)});
  S last = b.op(Opcode::Mul, {b.op(Opcode::Sub, {exponent, u32(format.precision - 1)}), unit});
  last = b.op(Opcode::FromBits, {last}, Elem::F32);
  S rounded = b.op(Opcode::Mul, {b.op(Opcode::Round, {b.op(Opcode::Div, {value, last})}), last});
  S large = b.op(Opcode::Gt, {b.op(Opcode::Abs, {rounded}), real(Elem::F32, format.largest)});
  S negative = b.op(Opcode::Lt, {value, real(Elem::F32, 0)});
  bool clamps = saturate || elem == Elem::F4E2M1;
  double beyond = clamps              ? format.largest
                  : format.infinities ? std::numeric_limits<double>::infinity()
                                      : std::numeric_limits<double>::quiet_NaN();
  S limit = b.op(Opcode::Select, {negative, real(Elem::F32, -beyond), real(Elem::F32, beyond)});
  rounded = b.op(Opcode::Select, {large, limit, rounded});
  S isZero = b.op(Opcode::Eq, {rounded, real(Elem::F32, 0)});
  if (!format.negativeZero)
    rounded = b.op(Opcode::Select, {isZero, real(Elem::F32, 0), rounded});
  if (elem == Elem::F4E2M1) // which has no NaN
    rounded = b.op(Opcode::Select, {b.op(Opcode::Ne, {value, value}), real(Elem::F32, -0.0), rounded});
  return rounded;
}

/// The byte of a value that `elem` has.
S Emitter::encode(S value, Elem elem) {
  auto u32 = [&](int64_t i) { return b.constant(Elem::U32, i); };
  S bits = b.op(Opcode::ToBits, {value}, Elem::U32), unit = u32(0x800000);
  S exponent = b.op(Opcode::And, {b.op(Opcode::Div, {bits, unit}), u32(255)});
  if (elem == Elem::F8E8M0)
    return b.op(Opcode::Cast, {exponent}, Elem::U8);
  Format format = formatOf(elem);
  S special = b.op(Opcode::Eq, {exponent, u32(255)});
  S least = u32(format.minExponent + 127);
  exponent = b.op(Opcode::Max, {exponent, least});
  S last = b.op(Opcode::Mul, {b.op(Opcode::Sub, {exponent, u32(format.precision - 1)}), unit});
  S count = b.op(Opcode::Div, {b.op(Opcode::Abs, {value}), b.op(Opcode::FromBits, {last}, Elem::F32)});
  count = b.op(Opcode::Select, {special, real(Elem::F32, 0), count});
  S size = b.op(Opcode::Cast, {b.op(Opcode::Truncate, {count}, Elem::I32)}, Elem::U32);
  size = b.op(Opcode::Add, {size, b.op(Opcode::Mul, {b.op(Opcode::Sub, {exponent, least}),
                                                     u32(int64_t(1) << (format.precision - 1))})});
  S sign = b.op(Opcode::Mul, {b.op(Opcode::Div, {bits, u32(0x80000000)}), u32(elem == Elem::F4E2M1 ? 8 : 128)});
  auto pattern = [&](const llvm::APFloat &of) { return u32(of.bitcastToAPInt().getZExtValue()); };
  if (elem == Elem::F4E2M1)
    return b.op(Opcode::Cast, {b.op(Opcode::Add, {size, sign})}, Elem::U8);
  S nan = pattern(llvm::APFloat::getQNaN(format.semantics)), beyond = nan;
  if (format.infinities)
    beyond =
        b.op(Opcode::Select, {b.op(Opcode::Ne, {value, value}), nan, pattern(llvm::APFloat::getInf(format.semantics))});
  if (!format.negativeZero) { // the sign alone is NaN
    S finite = b.op(Opcode::Add, {size, sign});
    return b.op(Opcode::Cast, {b.op(Opcode::Select, {special, nan, finite})}, Elem::U8);
  }
  size = b.op(Opcode::Select, {special, beyond, size});
  return b.op(Opcode::Cast, {b.op(Opcode::Add, {size, sign})}, Elem::U8);
}

S Emitter::decode(S bits, Elem elem) {
  auto [it, isNew] = decoders.try_emplace(static_cast<int>(elem));
  if (isNew) {
    Format format = formatOf(elem);
    unsigned width = elem == Elem::F4E2M1 ? 4 : 8;
    llvm::SmallVector<double> values;
    for (unsigned i = 0; i < 1u << width; ++i)
      values.push_back(elem == Elem::F8E8M0 && i == 255 // which APFloat takes for an infinity
                           ? std::numeric_limits<double>::quiet_NaN()
                           : llvm::APFloat(format.semantics, llvm::APInt(width, i)).convertToDouble());
    it->second = b.table(Elem::F32, values, {});
  }
  S offset = b.op(Opcode::Cast, {bits}, Elem::I64);
  return b.load(it->second, bits.vec ? Access::Gather : Access::Uniform, offset);
}
