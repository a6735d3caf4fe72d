// Floats of eight and four bits, from their bits. No LLVM, for the runtime to share.
#ifndef LLMOPT_LIB_CODEGEN_PLAN_SMALLFLOATS_H
#define LLMOPT_LIB_CODEGEN_PLAN_SMALLFLOATS_H

#include "llmopt/Runtime/abi.h"

#include <cmath>

namespace llmopt {

/// sign, exponent, mantissa; `fnuz`: no infinities, and the bits of -0 are NaN.
struct SmallFloat {
  int exponentBits, mantissaBits, bias;
  bool fnuz, infinities, allOnesIsNaN;
};

inline bool isSmallFloat(uint32_t dtype) { return dtype >= LLMOPT_F8E4M3FN && dtype <= LLMOPT_F4E2M1; }

inline double decodeSmallFloat(uint8_t bits, uint32_t dtype) {
  if (dtype == LLMOPT_F8E8M0)
    return bits == 255 ? NAN : std::ldexp(1.0, int(bits) - 127);
  SmallFloat f = dtype == LLMOPT_F8E4M3FN     ? SmallFloat{4, 3, 7, false, false, true}
                 : dtype == LLMOPT_F8E4M3FNUZ ? SmallFloat{4, 3, 8, true, false, false}
                 : dtype == LLMOPT_F8E5M2     ? SmallFloat{5, 2, 15, false, true, false}
                 : dtype == LLMOPT_F8E5M2FNUZ ? SmallFloat{5, 2, 16, true, false, false}
                                              : SmallFloat{2, 1, 1, false, false, false};
  int mantissa = bits & ((1 << f.mantissaBits) - 1), ones = (1 << f.exponentBits) - 1;
  int exponent = (bits >> f.mantissaBits) & ones;
  bool negative = (bits >> (f.exponentBits + f.mantissaBits)) & 1;
  if (f.fnuz && negative && !exponent && !mantissa)
    return NAN;
  if (exponent == ones && f.infinities)
    return mantissa ? NAN : negative ? -INFINITY : INFINITY;
  if (exponent == ones && f.allOnesIsNaN && mantissa == (1 << f.mantissaBits) - 1)
    return NAN;
  double size = exponent ? std::ldexp(mantissa + (1 << f.mantissaBits), exponent - f.bias - f.mantissaBits)
                         : std::ldexp(mantissa, 1 - f.bias - f.mantissaBits);
  return negative ? -size : size;
}

} // namespace llmopt

#endif
