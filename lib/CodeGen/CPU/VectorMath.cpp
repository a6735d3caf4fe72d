// Transcendental functions. Coefficients come from scripts/fit-polynomials.py.
//
// Two habits throughout: a value is rounded to an integer by adding 1.5 * 2^23
// (its low bits then are that integer; no conversion that NaN could poison),
// and clamping compares so that NaN passes through.
#include "llmopt/CodeGen/CPU/VectorMath.h"

#include "VectorMath64.h"
#include "llmopt/CodeGen/CPU/Gemm.h"

#include <cmath>
#include <limits>

using namespace mlir;

namespace llmopt::cpu {
namespace {

constexpr double roundMagic32 = 12582912.0;         // 1.5 * 2^23
constexpr double roundMagic64 = 6755399441055744.0; // 1.5 * 2^52
constexpr double log2e = 1.44269504088896340736;
constexpr double ln2 = 0.693147180559945309417;
constexpr double ln2High = 0.693145751953125; // 15 bits: n * ln2High is exact
constexpr double ln2Low = 1.42860682030941723212e-6;
constexpr double infinity = std::numeric_limits<double>::infinity();

V polynomial(V x, std::initializer_list<double> lowestFirst) {
  KernelBuilder &kb = *x.kb;
  auto c = std::rbegin(lowestFirst);
  V sum = kb.like(x, *c);
  for (++c; c != std::rend(lowestFirst); ++c)
    sum = kb.fma(sum, x, kb.like(x, *c));
  return sum;
}

V intBits(V x) {
  KernelBuilder &kb = *x.kb;
  return kb.bitcast(
      x, kb.builder.getIntegerType(x.elementType().getIntOrFloatBitWidth()));
}

bool isWide(V x) { return x.elementType().isF64(); }

V clampBelow(V x, double low) {
  return x.kb->select(x < low, x.kb->like(x, low), x);
}
V clampAbove(V x, double high) {
  return x.kb->select(x > high, x.kb->like(x, high), x);
}

/// 2^n for an integer vector n in the normal range.
V powerOfTwo32(V n) { return n.kb->bitcast((n + 127) << 23, n.kb->f32()); }

/// x = n ln2 + r, |r| <= ln2 / 2 (a little more after rounding), n as i32.
struct Reduced {
  V n, r;
};
Reduced reduceByLn2(V x) {
  KernelBuilder &kb = *x.kb;
  V shifted = kb.fma(x, kb.like(x, log2e), kb.like(x, roundMagic32));
  V n = intBits(shifted) - int64_t(0x4B400000);
  V whole = shifted - roundMagic32;
  V r = kb.fma(whole, kb.like(x, -ln2High), x);
  return {n, kb.fma(whole, kb.like(x, -ln2Low), r)};
}

V expReduced(V r) {
  KernelBuilder &kb = *r.kb;
  V p = polynomial(r, {0.50000001007910607, 0.16666512877452646,
                       0.04166618792035808, 0.0083695992474486578,
                       0.00139516766213698});
  return kb.fma(r * r, p, r) + 1.0;
}

} // namespace

V emitExp(KernelBuilder &kb, V x) {
  if (isWide(x))
    return wide::exp(kb, x);
  Reduced x2 = reduceByLn2(clampAbove(clampBelow(x, -104.0), 89.0));
  // Two factors, so that results reach infinity and the denormals correctly.
  V half = x2.n >> 1;
  return expReduced(x2.r) * powerOfTwo32(half) * powerOfTwo32(x2.n - half);
}

V emitExpNonPositive(KernelBuilder &kb, V x) {
  if (isWide(x))
    return wide::exp(kb, x);
  const double smallest = -87.33654022216797; // log(2^-126), rounded up
  Reduced x2 = reduceByLn2(clampBelow(x, smallest));
  V result = expReduced(x2.r) * powerOfTwo32(x2.n);
  return kb.select(x < smallest, kb.like(x, 0.0), result);
}

V emitLog(KernelBuilder &kb, V x) {
  if (isWide(x))
    return wide::log(kb, x);
  V tiny = x < 1.17549435082229e-38;
  V scaled = kb.select(tiny, x * 8388608.0, x);
  // m in [sqrt(1/2), sqrt(2)): move the exponent's origin to sqrt(1/2).
  V bits = intBits(scaled) - int64_t(0x3F3504F3);
  V exponent = bits >> 23;
  V m =
      kb.bitcast((bits & int64_t(0x007FFFFF)) + int64_t(0x3F3504F3), kb.f32());
  exponent =
      exponent - kb.select(tiny, kb.like(exponent, 23), kb.like(exponent, 0));
  V e = kb.toFloat(exponent, kb.f32());
  V f = m - 1.0;
  V p = polynomial(
      f, {0.33333312596712253, -0.25000009621277382, 0.20002119058823009,
          -0.16667994830629875, 0.14219544769680452, -0.12405603993018822,
          0.11888227731424388, -0.11675579580706817, 0.067464101056488761});
  V square = f * f;
  V tail = kb.fma(square * f, p, kb.fma(e, kb.like(x, ln2Low), square * -0.5));
  V result = kb.fma(e, kb.like(x, ln2High), f + tail);
  result = kb.select(x == infinity, x, result);
  result = kb.select(x == 0.0, kb.like(x, -infinity), result);
  // Negative or NaN.
  return kb.select(x >= 0.0, result,
                   kb.like(x, std::numeric_limits<double>::quiet_NaN()));
}

V emitTanh(KernelBuilder &kb, V x) {
  if (isWide(x))
    return wide::tanh(kb, x);
  // e = exp(-2|x|) - 1, tanh|x| = -e / (2 + e)
  V z = clampBelow(kb.abs(x) * -2.0, -20.0);
  Reduced z2 = reduceByLn2(z);
  V p = polynomial(z2.r, {0.50000000468862573, 0.16666666355067271,
                          0.041666348538150784, 0.0083333909957937739,
                          0.0013941662471568593, 0.0001984631317793352});
  V part = kb.fma(z2.r * z2.r, p, z2.r);
  V scale = powerOfTwo32(z2.n);
  V e = kb.fma(part, scale, scale - 1.0);
  return kb.copySign(e / (e + 2.0), x);
}

V emitAtan(KernelBuilder &kb, V x) {
  V a = kb.abs(x), inverse = 1.0 / a;
  auto large = a > 1.0;
  V t = kb.select(large, inverse, a), square = t * t;
  // t (1 + P(t^2)): the whole t is added last, so its rounding is the only one.
  V p = polynomial(square, {-0.33333299073735726, 0.19998547819504366, -0.14264236736915564, 0.10952159966605708,
                            -0.084033751571564184, 0.057956311201045358, -0.031176572743710678, 0.010913924740342059,
                            -0.0017934700038837982});
  V part = kb.fma(t * square, p, t);
  V result = kb.select(large, M_PI_2 - part, part);
  return kb.copySign(result, x);
}

V emitErf(KernelBuilder &kb, V x) {
  if (isWide(x))
    return wide::erf(kb, x);
  V a = clampAbove(kb.abs(x), 3.95);
  V square = a * a;
  // x (1 + P(x^2)): the whole x is added last, so its rounding is the only one.
  V p = polynomial(square, {0.1283791495366108, -0.37612493558700816,
                            0.11281814817431767, -0.026766566831010439,
                            0.0049931070499515514, -0.00059904771182983073});
  V small = kb.fma(a, p, a);
  V q = polynomial(a, {0.0001775422385167663, 1.1277493232517951,
                       0.63706024130848668, 0.10403684609486622,
                       -0.022276794952418292, 0.0030555225578085288,
                       -0.00019717185454604024});
  V large = 1.0 - emitExpNonPositive(kb, -q);
  return kb.copySign(kb.select(a < 0.921875, small, large), x);
}

V emitGelu(KernelBuilder &kb, V x) {
  if (isWide(x))
    return x * 0.5 * (wide::erf(kb, x * std::sqrt(0.5)) + 1.0);
  // The normal distribution of -|x| is 2^(|x| Q(|x|) - 1), of |x| what is left to 1:
  // nothing cancels, and one polynomial serves all of them. Beyond `end` f32 has nothing
  // of it.
  const double end = 5.6;
  V a = kb.abs(x), limited = clampAbove(a, end);
  V power = limited * polynomial(limited, {-1.1511052063517062, -0.45920818735372768, -0.05249620703554123,
                                           0.0070634615206956404, -0.00013696734739963975, -0.0001861680897609959,
                                           3.9375368304069329e-5, -2.8347466262842165e-6});
  V shifted = power + (roundMagic32 - 1);
  V whole = shifted - (roundMagic32 - 1);
  V p = polynomial(power - whole, {1.0000000005631689, 0.6931472060369594, 0.24022646844011973, 0.05550328124195174,
                                   0.0096184919325672418, 0.0013400195350493305, 0.00015345556041430838});
  // The low bits of `shifted` are the exponent; what else it holds is shifted out.
  V below = kb.bitcast(intBits(p) + (intBits(shifted) << 23), kb.f32());
  below = kb.select(a > end, kb.like(x, 0.0), below);
  return x * kb.select(x < 0.0, below, 1.0 - below);
}

V emitSigmoid(KernelBuilder &kb, V x) {
  if (isWide(x))
    return wide::sigmoid(kb, x);
  V e = emitExp(kb, -kb.abs(x));
  V numerator = kb.select(x < 0.0, e, kb.like(x, 1.0));
  return numerator / (e + 1.0);
}

// ---- through f64: rare in models, so exactness is preferred to speed

namespace {

/// sin(x + quadrant * pi/2)
V sinOfQuadrant(KernelBuilder &kb, V x, int64_t quadrant) {
  V wide = kb.convert(x, kb.f64());
  V shifted = kb.fma(wide, kb.like(wide, 0.63661977236758134308),
                     kb.like(wide, roundMagic64));
  V n = shifted - roundMagic64;
  V q = intBits(shifted) + quadrant;
  // pi/2 in 33 bits and the rest.
  V r = kb.fma(n, kb.like(wide, -1.57079632673412561417), wide);
  r = kb.fma(n, kb.like(wide, -6.07710050650619224932e-11), r);
  V z = r * r;
  V sine = kb.fma(r * z,
                  polynomial(z, {-0.16666666666627961, 0.0083333333246106845,
                                 -0.00019841263456643362, 2.7555279008528428e-6,
                                 -2.4755889279045194e-8}),
                  r);
  V cosine =
      kb.fma(z * z,
             polynomial(z, {0.041666666666595534, -0.0013888888877397334,
                            2.4801580583604272e-5, -2.7555496301823566e-7,
                            2.0643162936434212e-9}),
             kb.fma(z, kb.like(z, -0.5), kb.like(z, 1.0)));
  V result = kb.select((q & 1) == 0, sine, cosine);
  result = kb.select((q & 2) == 0, result, -result);
  return kb.convert(result, kb.f32());
}

/// log of a positive f64 that came from f32; inf, 0 and NaN as in libm.
V logWide(KernelBuilder &kb, V x) {
  const int64_t sqrtHalf = 0x3FE6A09E667F3BCD;
  V bits = intBits(x) - sqrtHalf;
  V m = kb.bitcast((bits & int64_t(0x000FFFFFFFFFFFFF)) + sqrtHalf, kb.f64());
  V e = kb.toFloat(kb.convert(bits >> 52, kb.i32()), kb.f64());
  V s = (m - 1.0) / (m + 1.0);
  V z = s * s;
  V p = polynomial(z, {0.66666666666586752, 0.400000000524744,
                       0.28571417099356137, 0.2222337375966268,
                       0.18123577197266667, 0.168205946662639});
  V result = kb.fma(e, kb.like(x, ln2), kb.fma(s * z, p, s * 2.0));
  result = kb.select(x == infinity, x, result);
  result = kb.select(x == 0.0, kb.like(x, -infinity), result);
  return kb.select(x == x, result, x);
}

/// exp of an f64, exact enough for f32; saturates outside f32's range.
V expWide(KernelBuilder &kb, V x) {
  x = clampAbove(clampBelow(x, -200.0), 200.0);
  V shifted = kb.fma(x, kb.like(x, log2e), kb.like(x, roundMagic64));
  V whole = shifted - roundMagic64;
  V n = intBits(shifted) - intBits(kb.like(x, roundMagic64));
  V r = kb.fma(whole, kb.like(x, -0.693147180369123816490), x);
  r = kb.fma(whole, kb.like(x, -1.90821492927058770002e-10), r);
  V p = polynomial(r, {0.49999999999567776, 0.1666666666657767,
                       0.041666667010205182, 0.0083333333853546828,
                       0.0013888804120881408, 0.00019841166448361058,
                       2.4883958567117054e-5, 2.7642598903001982e-6});
  V power = kb.bitcast((n + 1023) << 52, kb.f64());
  return (kb.fma(r * r, p, r) + 1.0) * power;
}

} // namespace

V emitSin(KernelBuilder &kb, V x) {
  if (isWide(x))
    return kb.select(x == 0.0, x, wide::sinOfQuadrant(kb, x, 0));
  V result = sinOfQuadrant(kb, x, 0);
  return kb.select(x == 0.0, x, result); // keeps -0
}

V emitCos(KernelBuilder &kb, V x) {
  return isWide(x) ? wide::sinOfQuadrant(kb, x, 1) : sinOfQuadrant(kb, x, 1);
}

V emitPow(KernelBuilder &kb, V x, V y) {
  bool isF64 = isWide(x);
  V wx = isF64 ? kb.abs(x) : kb.convert(kb.abs(x), kb.f64());
  V wy = isF64 ? y : kb.convert(y, kb.f64());
  V log = isF64 ? wide::log(kb, wx) : logWide(kb, wx);
  V product =
      kb.select(log == 0.0, log, wy * log); // |x| = 1, also to the power of inf
  product = kb.select(y == y, product, wy);
  V magnitude = isF64 ? wide::exp(kb, product) : kb.convert(expWide(kb, product), kb.f32());

  auto isWhole = [&](V v) { // beyond 2^51 every f32 is whole, and even
    V rounded = (v + roundMagic64) - roundMagic64;
    return (rounded == v) | (kb.abs(v) >= 4503599627370496.0);
  };
  V whole = isWhole(wy);
  V one = kb.like(x, 1.0),
    nan = kb.like(x, std::numeric_limits<double>::quiet_NaN());
  V odd = whole & (isWhole(wy * 0.5) == kb.intConstant(whole.type(), 0));
  V negative = intBits(x) < 0;
  V result = kb.select(negative & odd, -magnitude, magnitude);
  V undefined =
      (x < 0.0) & (x > -infinity) & (whole == kb.intConstant(whole.type(), 0));
  result = kb.select(undefined, nan, result);
  return kb.select((y == 0.0) | (x == 1.0), one, result);
}

V emitActivation(KernelBuilder &kb, Activation activation, V x) {
  switch (activation) {
  case Activation::None:
    return x;
  case Activation::Relu:
    return kb.select(x < 0.0, kb.like(x, 0.0), x);
  case Activation::GeluErf:
    return emitGelu(kb, x);
  case Activation::GeluTanh: {
    // 0.5 (1 + tanh u) = sigmoid(2u)
    V u = kb.fma(x * x * x, kb.like(x, 0.044715), x);
    return x * emitSigmoid(kb, u * (2 * std::sqrt(2 / M_PI)));
  }
  case Activation::GeluQuick:
    return x * emitSigmoid(kb, x * 1.702);
  case Activation::Tanh:
    return emitTanh(kb, x);
  case Activation::Sigmoid:
    return emitSigmoid(kb, x);
  case Activation::Silu:
    return x * emitSigmoid(kb, x);
  }
  llvm_unreachable("activation");
}

} // namespace llmopt::cpu
