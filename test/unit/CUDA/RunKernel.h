// Runs kernels of the header library under emulation, on buffers whose bounds it knows.
#ifndef LLMOPT_TEST_UNIT_CUDA_RUNKERNEL_H
#define LLMOPT_TEST_UNIT_CUDA_RUNKERNEL_H

#include "llmopt/cuda/intrin.cuh"

#include "gtest/gtest.h"

#include <cmath>
#include <random>
#include <string>
#include <tuple>
#include <vector>

namespace llmopt::testing {

/// Runs `kernel`; "" or what went wrong.
template <typename... P, typename... A>
std::string run(void (*kernel)(P...), llmopt_emulation::Dim3 grid, int threads, size_t sharedBytes, A... args) {
  std::tuple<P...> values(static_cast<P>(args)...);
  std::vector<void *> pointers;
  std::apply([&](auto &...value) { (pointers.push_back((void *)&value), ...); }, values);
  bool done = llmopt_emulation::run_grid(kernel, grid, {unsigned(threads), 1, 1}, sharedBytes, pointers.data());
  EXPECT_EQ(done, llmopt_emulation::last_error()[0] == 0);
  return llmopt_emulation::last_error();
}

/// A buffer that kernels may touch while it lives; ends where its memory ends.
template <typename T> class Buffer {
public:
  explicit Buffer(size_t count, T value = T()) : items(count, value) {
    llmopt_emulation::register_range(items.data(), items.size() * sizeof(T));
  }
  explicit Buffer(std::vector<T> values) : items(std::move(values)) {
    llmopt_emulation::register_range(items.data(), items.size() * sizeof(T));
  }
  ~Buffer() { llmopt_emulation::unregister_range(items.data()); }
  Buffer(const Buffer &) = delete;
  T *data() { return items.data(); }
  size_t size() const { return items.size(); }
  T &operator[](size_t i) { return items[i]; }
  auto begin() { return items.begin(); }
  auto end() { return items.end(); }

private:
  std::vector<T> items;
};

class KernelTest : public ::testing::Test {
protected:
  void TearDown() override { unsetenv("LLMOPT_EMULATION_SEED"); }
  std::mt19937 random{7};

  float uniform(float low = -1, float high = 1) { return std::uniform_real_distribution<float>(low, high)(random); }
  int integer(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }

  /// `count` numbers, each rounded to T.
  template <typename T> std::vector<T> numbers(size_t count, float low = -1, float high = 1) {
    std::vector<T> result(count);
    for (T &x : result) {
      if constexpr (std::is_integral_v<T>)
        x = static_cast<T>(integer(static_cast<int>(low), static_cast<int>(high)));
      else
        x = from_float<T>(uniform(low, high));
    }
    return result;
  }
};

inline double toDouble(float x) { return x; }
inline double toDouble(f16 x) { return to_float(x); }
inline double toDouble(bf16 x) { return to_float(x); }
inline double toDouble(int8_t x) { return x; }
inline double toDouble(int32_t x) { return x; }
inline double toDouble(double x) { return x; }

/// max |a - b| / max(1e-6, max finite |b|); infinite where NaN or infinities differ.
template <typename A, typename B> double relativeError(A &actual, B &expected) {
  double largest = 1e-6, difference = 0;
  auto b = expected.begin();
  for (auto &a : actual) {
    double x = toDouble(a), y = toDouble(*b++);
    if (std::isnan(x) != std::isnan(y) || (std::isinf(y) && x != y) || (std::isinf(x) && x != y))
      return INFINITY;
    if (!std::isfinite(y))
      continue;
    largest = std::max(largest, std::fabs(y));
    difference = std::max(difference, std::fabs(x - y));
  }
  return difference / largest;
}

/// What one rounding and f32 sums allow.
template <typename T> double tolerance() {
  return std::is_same_v<T, float> ? 1e-4 : std::is_same_v<T, f16> ? 5e-3 : 2e-2;
}

} // namespace llmopt::testing

#endif
