// Transcendental functions on f64. Rare in models, so plain series with as many
// terms as f64 needs are preferred to fitted polynomials.
#include "VectorMath64.h"

#include <cmath>
#include <limits>

using namespace mlir;

namespace llmopt::cpu {
namespace {

constexpr double roundMagic = 6755399441055744.0; // 1.5 * 2^52
constexpr double log2e = 1.44269504088896340736;
// The first 33 bits of ln 2 and of pi/2, and what is left of them.
constexpr double ln2High = 6.93147180369123816490e-01, ln2Low = 1.90821492927058770002e-10;
constexpr double halfPi1 = 1.57079632673412561417, halfPi2 = 6.07710050630396597660e-11,
                 halfPi3 = 2.02226624879595063154e-21;
constexpr double infinity = std::numeric_limits<double>::infinity();

/// sum of coefficient(k) x^k for k < terms.
V series(V x, int terms, llvm::function_ref<double(int)> coefficient) {
  KernelBuilder &kb = *x.kb;
  V sum = kb.like(x, coefficient(terms - 1));
  for (int k = terms - 2; k >= 0; --k)
    sum = kb.fma(sum, x, kb.like(x, coefficient(k)));
  return sum;
}

V bits(V x) { return x.kb->bitcast(x, x.kb->i64()); }

/// 2^n in the normal range.
V powerOfTwo(V n) { return n.kb->bitcast((n + 1023) << 52, n.kb->f64()); }

struct Reduced {
  V n, r; // x = n ln2 + r, n as i64
};
Reduced reduceByLn2(V x) {
  KernelBuilder &kb = *x.kb;
  V shifted = kb.fma(x, kb.like(x, log2e), kb.like(x, roundMagic)), whole = shifted - roundMagic;
  V n = bits(shifted) - bits(kb.like(x, roundMagic));
  V r = kb.fma(whole, kb.like(x, -ln2High), x);
  return {n, kb.fma(whole, kb.like(x, -ln2Low), r)};
}

/// exp(r) - 1 for |r| <= ln2 / 2: r + r^2 (1/2! + r/3! + ..), to r^13.
V expm1Reduced(V r) {
  V p = series(r, 12, [](int k) { return 1 / std::tgamma(k + 3.0); });
  return r.kb->fma(r * r, p, r);
}

V clamp(V x, double low, double high) {
  KernelBuilder &kb = *x.kb;
  x = kb.select(x < low, kb.like(x, low), x);
  return kb.select(x > high, kb.like(x, high), x);
}

} // namespace

V wide::exp(KernelBuilder &kb, V x) {
  Reduced reduced = reduceByLn2(clamp(x, -746.0, 710.0));
  // Two factors, so that results reach infinity and the denormals correctly.
  V half = reduced.n >> 1;
  return (expm1Reduced(reduced.r) + 1.0) * powerOfTwo(half) * powerOfTwo(reduced.n - half);
}

V wide::log(KernelBuilder &kb, V x) {
  const int64_t sqrtHalf = 0x3FE6A09E667F3BCD;
  V tiny = x < std::numeric_limits<double>::min();
  V scaled = kb.select(tiny, x * 18014398509481984.0, x); // 2^54
  V moved = bits(scaled) - sqrtHalf;
  V m = kb.bitcast((moved & int64_t(0x000FFFFFFFFFFFFF)) + sqrtHalf, kb.f64());
  V e = kb.toFloat(kb.convert(moved >> 52, kb.i32()), kb.f64());
  e = e - kb.select(tiny, kb.like(e, 54.0), kb.like(e, 0.0));
  // log m = 2 atanh s = 2 s + s z (2/3 + 2/5 z + ..), z <= 0.0295
  V s = (m - 1.0) / (m + 1.0), z = s * s;
  V p = series(z, 11, [](int k) { return 2.0 / (2 * k + 3); });
  V tail = kb.fma(s * z, p, e * ln2Low);
  V result = kb.fma(e, kb.like(x, ln2High), s * 2.0 + tail);
  result = kb.select(x == infinity, x, result);
  result = kb.select(x == 0.0, kb.like(x, -infinity), result);
  return kb.select(x >= 0.0, result, kb.like(x, std::numeric_limits<double>::quiet_NaN()));
}

V wide::tanh(KernelBuilder &kb, V x) {
  // e = exp(-2|x|) - 1, tanh|x| = -e / (2 + e)
  Reduced reduced = reduceByLn2(clamp(kb.abs(x) * -2.0, -60.0, 0.0));
  V scale = powerOfTwo(reduced.n);
  V e = kb.fma(expm1Reduced(reduced.r), scale, scale - 1.0);
  return kb.copySign(kb.abs(e / (e + 2.0)), x);
}

V wide::sigmoid(KernelBuilder &kb, V x) {
  V e = exp(kb, -kb.abs(x));
  return kb.select(x < 0.0, e, kb.like(x, 1.0)) / (e + 1.0);
}

V wide::erf(KernelBuilder &kb, V x) {
  V a = clamp(kb.abs(x), 0.0, 6.0), z = a * a, decay = exp(kb, -z);
  // Abramowitz and Stegun 7.1.6: all terms are positive.
  double term = 1;
  llvm::SmallVector<double> terms;
  for (int k = 0; k < 56; term *= 2.0 / (2 * ++k + 1))
    terms.push_back(term);
  V small = decay * a * series(z, terms.size(), [&](int k) { return terms[k]; }) * M_2_SQRTPI;
  // 7.1.14, the continued fraction of erfc, from its 24th level.
  V fraction = a;
  for (int k = 24; k >= 1; --k)
    fraction = a + (0.5 * k) / fraction;
  V large = 1.0 - decay / (fraction * std::sqrt(M_PI));
  return kb.copySign(kb.select(a < 2.5, small, large), x);
}

V wide::sinOfQuadrant(KernelBuilder &kb, V x, int64_t quadrant) {
  V shifted = kb.fma(x, kb.like(x, M_2_PI), kb.like(x, roundMagic)), n = shifted - roundMagic;
  V q = bits(shifted) + quadrant;
  V r = kb.fma(n, kb.like(x, -halfPi1), x);
  r = kb.fma(n, kb.like(x, -halfPi2), r);
  r = kb.fma(n, kb.like(x, -halfPi3), r);
  V z = r * r;
  auto sign = [](int k) { return k % 2 ? -1.0 : 1.0; };
  V sine = kb.fma(r * z, series(z, 9, [&](int k) { return -sign(k) / std::tgamma(2 * k + 4.0); }), r);
  V cosine = kb.fma(z * z, series(z, 8, [&](int k) { return sign(k) / std::tgamma(2 * k + 5.0); }),
                    kb.fma(z, kb.like(z, -0.5), kb.like(z, 1.0)));
  V result = kb.select((q & 1) == 0, sine, cosine);
  return kb.select((q & 2) == 0, result, -result);
}

} // namespace llmopt::cpu
