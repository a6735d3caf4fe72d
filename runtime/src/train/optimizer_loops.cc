#include "optimizer_loops.h"

#include "../cpu.h"

using namespace llmopt::rt;

#define LLMOPT_BODY static inline __attribute__((always_inline))

namespace {

LLMOPT_BODY void adamBody(float *__restrict w, float *__restrict m, float *__restrict v, const float *__restrict g,
                          uint64_t count, const OptimizerFactors &f) {
  const OptimizerFactors k = f;
  for (uint64_t i = 0; i < count; ++i) {
    const float x = k.scale * g[i] + k.coupled * w[i];
    m[i] = k.beta1 * m[i] + k.rest1 * x;
    v[i] = k.beta2 * v[i] + k.rest2 * x * x;
    w[i] = k.kept * w[i] - k.step * (m[i] / (__builtin_sqrtf(v[i]) / k.root + k.epsilon));
  }
}

LLMOPT_BODY void sgdBody(float *__restrict w, float *__restrict velocity, const float *__restrict g, uint64_t count,
                         const OptimizerFactors &f) {
  const OptimizerFactors k = f;
  if (!velocity) {
    for (uint64_t i = 0; i < count; ++i)
      w[i] = k.kept * w[i] - k.rate * (k.scale * g[i] + k.coupled * w[i]);
    return;
  }
  for (uint64_t i = 0; i < count; ++i) {
    const float x = k.scale * g[i] + k.coupled * w[i];
    velocity[i] = k.velocity * velocity[i] + x;
    w[i] = k.kept * w[i] - k.rate * (k.nesterov ? x + k.momentum * velocity[i] : velocity[i]);
  }
}

LLMOPT_BODY double sumOfSquaresBody(const float *__restrict g, uint64_t count) {
  double sums[8] = {};
  uint64_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (uint64_t lane = 0; lane < 8; ++lane)
      sums[lane] += static_cast<double>(g[i + lane]) * static_cast<double>(g[i + lane]);
  for (uint64_t lane = 0; i + lane < count; ++lane)
    sums[lane] += static_cast<double>(g[i + lane]) * static_cast<double>(g[i + lane]);
  double sum = 0;
  for (double s : sums)
    sum += s;
  return sum;
}

LLMOPT_BODY void addBody(float *__restrict to, const float *__restrict from, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i)
    to[i] += from[i];
}

#define LLMOPT_LOOPS(NAME, TARGET)                                                                                     \
  struct NAME {                                                                                                        \
    TARGET static void adam(float *w, float *m, float *v, const float *g, uint64_t n, const OptimizerFactors &f) {     \
      adamBody(w, m, v, g, n, f);                                                                                      \
    }                                                                                                                  \
    TARGET static void sgd(float *w, float *velocity, const float *g, uint64_t n, const OptimizerFactors &f) {         \
      sgdBody(w, velocity, g, n, f);                                                                                   \
    }                                                                                                                  \
    TARGET static double sumOfSquares(const float *g, uint64_t n) { return sumOfSquaresBody(g, n); }                   \
    TARGET static void add(float *to, const float *from, uint64_t n) { addBody(to, from, n); }                         \
    static constexpr OptimizerLoops table = {adam, sgd, sumOfSquares, add};                                            \
  };

LLMOPT_LOOPS(Baseline, )
#if defined(__x86_64__)
LLMOPT_LOOPS(Avx2, __attribute__((target("avx2"))))
#endif

} // namespace

const OptimizerLoops &llmopt::rt::optimizerLoops() {
#if defined(__x86_64__)
  static const bool hasAvx2 = cpuSupport(readCpuWords(), "avx2", 4) == CpuSupport::Present;
  if (hasAvx2)
    return Avx2::table;
#endif
  return Baseline::table;
}
