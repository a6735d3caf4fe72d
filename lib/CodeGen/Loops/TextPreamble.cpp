// Helper functions that printed kernels call.
#include "llmopt/CodeGen/Loops/Loops.h"

using namespace llmopt::loops;

static const char *const kHelpers = R"(
template <typename T> LLMOPT_INLINE T llmopt_min(T a, T b) { return b < a ? b : a; }
template <typename T> LLMOPT_INLINE T llmopt_max(T a, T b) { return a < b ? b : a; }
// NaN if either is.
LLMOPT_INLINE float llmopt_min(float a, float b) { return a != a || a < b ? a : b; }
LLMOPT_INLINE float llmopt_max(float a, float b) { return a != a || a > b ? a : b; }
LLMOPT_INLINE double llmopt_min(double a, double b) { return a != a || a < b ? a : b; }
LLMOPT_INLINE double llmopt_max(double a, double b) { return a != a || a > b ? a : b; }
LLMOPT_INLINE float llmopt_sigmoid(float x) {
  const float e = expf(-fabsf(x));
  return (x < 0 ? e : 1.0f) / (1.0f + e);
}
LLMOPT_INLINE double llmopt_sigmoid(double x) {
  const double e = exp(-fabs(x));
  return (x < 0 ? e : 1.0) / (1.0 + e);
}
LLMOPT_INLINE uint32_t llmopt_to_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}
LLMOPT_INLINE float llmopt_from_bits(uint32_t bits) {
  float result;
  memcpy(&result, &bits, 4);
  return result;
}
LLMOPT_INLINE float llmopt_from_bf16(uint16_t x) {
  const uint32_t bits = (uint32_t)x << 16;
  float result;
  memcpy(&result, &bits, 4);
  return result;
}
LLMOPT_INLINE uint16_t llmopt_to_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return (uint16_t)((x == x ? bits + 0x7fff + ((bits >> 16) & 1) : bits | 0x400000) >> 16);
}
LLMOPT_INLINE float llmopt_from_f16(uint16_t x) {
  const uint32_t sign = (uint32_t)(x & 0x8000) << 16, exponent = (x >> 10) & 31, mantissa = x & 0x3ff;
  if (exponent == 0) // 2^-24 each
    return sign ? -(mantissa * 5.9604644775390625e-8f) : mantissa * 5.9604644775390625e-8f;
  const uint32_t bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13;
  float result;
  memcpy(&result, &bits, 4);
  return result;
}
LLMOPT_INLINE uint16_t llmopt_to_f16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  const uint32_t sign = (bits >> 16) & 0x8000, size = bits & 0x7fffffff;
  if (size > 0x7f800000)
    return (uint16_t)(sign | 0x7e00);
  if (size >= 0x477ff000)
    return (uint16_t)(sign | 0x7c00);
  if (size < 0x38800000) // below 2^-14: a multiple of 2^-24
    return (uint16_t)(sign | (uint32_t)rintf(fabsf(x) * 16777216.0f));
  return (uint16_t)(sign | ((size - 0x38000000 + 0xfff + ((size >> 13) & 1)) >> 13));
}
)";

void llmopt::loops::printTextPreamble(llvm::raw_ostream &os, TextStyle style) {
  bool cuda = style == TextStyle::Cuda;
  os << "#ifndef LLMOPT_LOOP_HELPERS\n#define LLMOPT_LOOP_HELPERS\n"
     << "#include <math.h>\n#include <stdint.h>\n#include <string.h>\n"
     << "#define LLMOPT_INLINE " << (cuda ? "__device__ __forceinline__" : "static inline") << "\n"
     << kHelpers << "#endif\n\n";
}
