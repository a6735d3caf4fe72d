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

/// The bits of an f32 rounded to e4m3 (FN), ties to even, what is too large to 448.
inline uint8_t encodeE4M3(float x) {
  const uint8_t sign = std::signbit(x) ? 0x80 : 0;
  const double size = std::fabs(static_cast<double>(x));
  if (std::isnan(x))
    return 0x7f;
  if (size >= 448)
    return static_cast<uint8_t>(sign | 0x7e);
  int exponent;
  std::frexp(size, &exponent); // size = m 2^exponent, m in [0.5, 1)
  exponent = exponent < -5 ? -5 : exponent;
  // Eighths of 2^(exponent - 1), [8, 16] where that is normal; 16 carries over.
  const auto eighths = static_cast<int>(std::nearbyint(std::ldexp(size, 4 - exponent)));
  return static_cast<uint8_t>(sign | (eighths < 8 ? eighths : ((exponent + 6) << 3) + eighths - 8));
}

} // namespace llmopt

#endif
