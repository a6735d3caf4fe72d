// What the kernel tests share: the levels to test, random data, running all
// tiles of a kernel, and the measure of error.
#ifndef LLMOPT_TEST_UNIT_CPU_FIXTURE_H
#define LLMOPT_TEST_UNIT_CPU_FIXTURE_H

#include "KernelLibrary.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <vector>

namespace llmopt::cpu {

/// Runs for every x86-64 level that this CPU has.
class KernelTest : public testing::TestWithParam<const char *> {
protected:
  void SetUp() override {
    std::string error;
    auto resolved =
        resolveTarget("x86_64-unknown-linux-gnu", GetParam(), error);
    ASSERT_TRUE(resolved) << error;
    target = *resolved;
    if (!runsOnHost(target))
      GTEST_SKIP() << "this CPU lacks " << target.requiredFeatures;
  }
  TargetInfo target;
};

#define LLMOPT_FOR_ALL_LEVELS(Suite)                                           \
  INSTANTIATE_TEST_SUITE_P(                                                    \
      Levels, Suite, testing::Values("x86-64", "x86-64-v3", "x86-64-v4"),      \
      [](const auto &info) {                                                   \
        std::string name = info.param;                                         \
        for (char &c : name)                                                   \
          c = c == '-' ? '_' : c;                                              \
        return name;                                                           \
      })

inline std::vector<float> randomVector(size_t n, uint32_t seed, float low = -1,
                                       float high = 1) {
  std::mt19937 rng(seed);
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> v(n);
  for (float &x : v)
    x = uniform(rng);
  return v;
}

/// Memory that ends right before an unmapped page: a read beyond it crashes.
class Guarded {
public:
  explicit Guarded(const std::vector<float> &data) {
    init(data.data(), data.size() * 4);
  }
  explicit Guarded(const std::vector<int64_t> &data) {
    init(data.data(), data.size() * 8);
  }
  explicit Guarded(const std::vector<uint8_t> &data) {
    init(data.data(), data.size());
  }
  ~Guarded() { munmap(mapping, bytes); }
  Guarded(const Guarded &) = delete;
  operator void *() const { return start; }
  const float *floats() const { return reinterpret_cast<const float *>(start); }

private:
  void init(const void *data, size_t size) {
    size_t page = 4096, pages = (size + page - 1) / page;
    bytes = (pages + 1) * page;
    mapping = static_cast<char *>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(mapping + pages * page, page, PROT_NONE);
    start = mapping + pages * page - size;
    memcpy(start, data, size);
  }
  char *mapping, *start;
  size_t bytes;
};

/// Runs the tiles in reverse order (they must not depend on it), with scratch
/// memory of exactly the stated size, full of NaN.
inline void runTiles(llmopt_kernel_fn kernel, std::vector<void *> args,
                     std::vector<int64_t> dims, const SizeFormula &tiles,
                     const SizeFormula *scratchBytes = nullptr) {
  std::vector<float> nan(scratchBytes ? scratchBytes->eval(dims.data()) / 4 : 0,
                         NAN);
  Guarded scratch(nan);
  for (int64_t tile = tiles.eval(dims.data()); tile-- > 0;)
    kernel(args.data(), dims.data(), tile, scratch);
}

/// max |a - b| / max(1e-6, max finite |b|); infinite if NaN or Inf positions
/// differ.
inline double relativeError(const float *a, const std::vector<double> &b) {
  double scale = 1e-6, error = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    if (std::isfinite(b[i]))
      scale = std::max(scale, std::fabs(b[i]));
    else if (std::isnan(b[i]) ? !std::isnan(a[i]) : a[i] != b[i])
      return INFINITY;
  }
  for (size_t i = 0; i < b.size(); ++i)
    if (std::isfinite(b[i])) {
      double e = std::fabs(a[i] - b[i]);
      error = std::isnan(e) ? INFINITY : std::max(error, e / scale);
    }
  return error;
}

inline double activationReference(Activation activation, double x) {
  switch (activation) {
  case Activation::None:
    return x;
  case Activation::Relu:
    return x < 0 ? 0 : x;
  case Activation::GeluErf:
    return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  case Activation::GeluTanh:
    return 0.5 * x *
           (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  case Activation::GeluQuick:
    return x / (1 + std::exp(-1.702 * x));
  case Activation::Tanh:
    return std::tanh(x);
  case Activation::Sigmoid:
    return 1 / (1 + std::exp(-x));
  case Activation::Silu:
    return x / (1 + std::exp(-x));
  }
  return NAN;
}

} // namespace llmopt::cpu
#endif
