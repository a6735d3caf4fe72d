// Random elements in arithmetic that every machine rounds alike: integers, and doubles
// under + - * / and square roots, never contracted, without functions of a C library.
#include "llmopt/Dialect/LM/IR/DrawnWeights.h"

#include "llmopt/Support/Philox.h"

#include <cmath>
#include <cstring>

#pragma clang fp contract(off)

using namespace llmopt;
using namespace llmopt::lm;

/// FNV-1a: which stream of numbers a weight gets.
static uint64_t hashName(llvm::StringRef name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (char c : name)
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return hash;
}

/// log x for x in (0, 1): x = m 2^e with m in [0.5, 1), and log m = 2 atanh((m-1)/(m+1)).
static double logarithm(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, 8);
  int exponent = static_cast<int>(bits >> 52) - 1022;
  bits = (bits & ((uint64_t(1) << 52) - 1)) | (uint64_t(1022) << 52);
  double m;
  std::memcpy(&m, &bits, 8);
  double t = (m - 1) / (m + 1), square = t * t, power = t, sum = 0;
  for (int k = 1; k < 40; k += 2) { // |t| <= 1/3: the rest is below 2^-60
    sum += power / k;
    power *= square;
  }
  return 2 * sum + exponent * 0.693147180559945309417232121458;
}

/// The inverse of the normal distribution function by rational functions of relative
/// error 1.15e-9 (Acklam 2003), a twentieth of what f32 resolves.
static double normalQuantile(double p) {
  constexpr double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                          1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
  constexpr double b[] = {-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02, 6.680131188771972e+01,
                          -1.328068155288572e+01};
  constexpr double c[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                          -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
  constexpr double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00};
  auto horner = [](llvm::ArrayRef<double> coefficients, double x) {
    double y = 0;
    for (double coefficient : coefficients)
      y = y * x + coefficient;
    return y;
  };
  constexpr double kLow = 0.02425;
  if (p > 1 - kLow)
    return -normalQuantile(1 - p);
  if (p < kLow) {
    double q = std::sqrt(-2 * logarithm(p));
    return horner(c, q) / (horner(d, q) * q + 1);
  }
  double q = p - 0.5, r = q * q;
  return horner(a, r) * q / (horner(b, r) * r + 1);
}

void llmopt::lm::drawElements(DrawnAttr source, llvm::StringRef name, uint64_t first,
                              llvm::MutableArrayRef<float> elements) {
  if (source.getKind() == DrawKind::Zeros) {
    std::fill(elements.begin(), elements.end(), 0.0f);
    return;
  }
  uint64_t stream = hashName(name);
  double scale = source.getScale().getValueAsDouble();
  std::array<uint32_t, 2> key = philoxKey(source.getSeed());
  std::array<uint32_t, 4> words{};
  for (size_t i = 0; i < elements.size(); ++i) {
    uint64_t at = first + i, block = at / 4;
    if (i == 0 || at % 4 == 0)
      words = philox({uint32_t(block), uint32_t(block >> 32), uint32_t(stream), uint32_t(stream >> 32)}, key);
    double unit = (words[at % 4] + 0.5) * 0x1p-32; // never 0 or 1
    elements[i] = static_cast<float>(source.getKind() == DrawKind::Normal ? normalQuantile(unit) * scale
                                                                          : (2 * unit - 1) * scale);
  }
}
