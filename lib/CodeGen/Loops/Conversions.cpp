// Conversions and divisions: where C and LLVM leave results open, these say
// what x86 computes, as the evaluator does.
#include "Emitter.h"

#include <cmath>

using namespace llmopt::loops;

S Emitter::isZero(S value) { return b.op(Opcode::Eq, {value, b.constant(value.elem, int64_t(0))}); }

S Emitter::cast(S value, Elem to) {
  to = computeElem(to);
  if (value.elem == to)
    return value;
  if (to == Elem::Bool)
    return b.op(Opcode::Ne, {value, b.constant(value.elem, int64_t(0))});
  if (!isFloat(value.elem) || isFloat(to))
    return b.op(Opcode::Cast, {value}, to);
  // Float to integer, by way of i32 or i64; what does not fit gives the smallest.
  auto truncate = [&](S x, Elem by) {
    double limit = std::ldexp(1.0, bitWidth(by) - 1);
    // The largest value below -limit that the type has is not always -limit - 1.
    S low = x.elem == Elem::F64 && by == Elem::I32 ? b.op(Opcode::Gt, {x, real(x.elem, -limit - 1)})
                                                   : b.op(Opcode::Ge, {x, real(x.elem, -limit)});
    S fits = b.op(Opcode::And, {low, b.op(Opcode::Lt, {x, real(x.elem, limit)})});
    S safe = b.op(Opcode::Select, {fits, x, real(x.elem, 0)});
    S smallest = b.constant(by, by == Elem::I32 ? int64_t(INT32_MIN) : INT64_MIN);
    return b.op(Opcode::Select, {fits, b.op(Opcode::Truncate, {safe}, by), smallest});
  };
  bool narrow = bitWidth(to) < 32 || to == Elem::I32;
  if (to != Elem::U64) {
    S wide = truncate(value, narrow ? Elem::I32 : Elem::I64);
    return wide.elem == to ? wide : b.op(Opcode::Cast, {wide}, to);
  }
  S top = real(value.elem, 0x1p63), large = b.op(Opcode::Ge, {value, top});
  S low = truncate(b.op(Opcode::Select, {large, b.op(Opcode::Sub, {value, top}), value}), Elem::I64);
  S flipped = b.op(Opcode::Xor, {low, b.constant(Elem::I64, INT64_MIN)});
  return b.op(Opcode::Cast, {b.op(Opcode::Select, {large, flipped, low})}, Elem::U64);
}

/// a / b truncated; x / 0 is 0, and the smallest number / -1 is itself.
S Emitter::divide(S x, S y) {
  if (isFloat(x.elem))
    return b.op(Opcode::Div, {x, y});
  S zero = b.constant(x.elem, int64_t(0)), one = b.constant(x.elem, int64_t(1));
  S none = isZero(y), safe = b.op(Opcode::Select, {none, one, y});
  if (!isUnsigned(x.elem)) {
    S minus = b.op(Opcode::Eq, {y, b.constant(x.elem, int64_t(-1))});
    S quotient = b.op(Opcode::Div, {x, b.op(Opcode::Select, {minus, one, safe})});
    quotient = b.op(Opcode::Select, {minus, b.op(Opcode::Neg, {x}), quotient});
    return b.op(Opcode::Select, {none, zero, quotient});
  }
  return b.op(Opcode::Select, {none, zero, b.op(Opcode::Div, {x, safe})});
}

S Emitter::modulo(S x, S y, bool fmod) {
  Elem elem = x.elem;
  S zero = b.constant(elem, int64_t(0));
  S rest;
  if (isFloat(elem)) {
    // Exact while the quotient has fewer than 53 bits.
    S wx = cast(x, Elem::F64), wy = cast(y, Elem::F64), none = real(Elem::F64, 0);
    S quotient = b.op(Opcode::Trunc, {b.op(Opcode::Div, {wx, wy})});
    S wide = b.op(Opcode::Fma, {b.op(Opcode::Neg, {quotient}), wy, wx});
    // The rounded quotient may be one too large: then the sign is wrong.
    S size = b.op(Opcode::Abs, {wy});
    S wrong = b.op(Opcode::And, {b.op(Opcode::Ne, {wide, none}),
                             b.op(Opcode::Ne, {b.op(Opcode::Lt, {wide, none}), b.op(Opcode::Lt, {wx, none})})});
    S signedSize = b.op(Opcode::Select, {b.op(Opcode::Lt, {wx, none}), b.op(Opcode::Neg, {size}), size});
    wide = b.op(Opcode::Select, {wrong, b.op(Opcode::Add, {wide, signedSize}), wide});
    // x mod inf is x.
    S infinite = b.op(Opcode::Eq, {size, real(Elem::F64, std::numeric_limits<double>::infinity())});
    S finite = b.op(Opcode::Lt, {b.op(Opcode::Abs, {wx}), real(Elem::F64, std::numeric_limits<double>::infinity())});
    wide = b.op(Opcode::Select, {b.op(Opcode::And, {infinite, finite}), wx, wide});
    rest = cast(wide, elem);
  } else {
    S none = isZero(y);
    S safe = b.op(Opcode::Select, {none, b.constant(elem, int64_t(1)), y});
    if (!isUnsigned(elem)) { // the smallest number mod -1 would trap
      S minus = b.op(Opcode::Eq, {safe, b.constant(elem, int64_t(-1))});
      safe = b.op(Opcode::Select, {minus, b.constant(elem, int64_t(1)), safe});
    }
    rest = b.op(Opcode::Rem, {x, safe});
  }
  if (fmod || isUnsigned(elem))
    return rest;
  S differ = b.op(Opcode::Ne, {b.op(Opcode::Lt, {rest, zero}), b.op(Opcode::Lt, {y, zero})});
  differ = b.op(Opcode::And, {differ, b.op(Opcode::Ne, {rest, zero})});
  return b.op(Opcode::Select, {differ, b.op(Opcode::Add, {rest, y}), rest});
}

/// base^exponent; integers modulo 2^width, negative exponents truncate.
S Emitter::power(S base, S exponent) {
  if (isFloat(base.elem) || isFloat(exponent.elem)) {
    Elem wide = base.elem == Elem::F64 || exponent.elem == Elem::F64 ? Elem::F64 : Elem::F32;
    if (!isFloat(base.elem))
      wide = Elem::F64;
    return cast(b.op(Opcode::Pow, {cast(base, wide), cast(exponent, wide)}), base.elem);
  }
  Elem elem = base.elem;
  S one = b.constant(elem, int64_t(1)), zero = b.constant(elem, int64_t(0));
  S wideExponent = cast(exponent, Elem::I64), none = b.index(0);
  S result;
  b.atLevel(std::max({base.level, exponent.level, b.barrier(false)}), [&] {
    SmallVector<S> initial{one, base, wideExponent};
    bool vector = base.vec || exponent.vec;
    if (vector)
      for (S &s : initial)
        s = b.splat(s);
    result = b.loop(LoopKind::Serial, none, b.index(64), initial, [&](S, ArrayRef<S> carried) {
      S odd = b.op(Opcode::Ne, {b.op(Opcode::And, {carried[2], b.index(1)}), none});
      S product = b.op(Opcode::Select, {odd, b.op(Opcode::Mul, {carried[0], carried[1]}), carried[0]});
      S square = b.op(Opcode::Mul, {carried[1], carried[1]});
      S half = b.op(Opcode::Div, {b.op(Opcode::Sub, {carried[2], b.op(Opcode::And, {carried[2], b.index(1)})}), b.index(2)});
      return SmallVector<S>{product, square, half};
    })[0];
  });
  if (isUnsigned(exponent.elem))
    return result;
  S negative = b.op(Opcode::Lt, {wideExponent, none});
  S odd = b.op(Opcode::Ne, {b.op(Opcode::And, {wideExponent, b.index(1)}), none});
  S small = b.op(Opcode::Select, {b.op(Opcode::Eq, {base, one}), one, zero});
  if (!isUnsigned(elem)) {
    S minus = b.constant(elem, int64_t(-1));
    S sign = b.op(Opcode::Select, {odd, minus, one});
    small = b.op(Opcode::Select, {b.op(Opcode::Eq, {base, minus}), sign, small});
  }
  return b.op(Opcode::Select, {negative, small, result});
}
