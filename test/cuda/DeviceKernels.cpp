// Kernels of the hand-written model of DeviceTest.cpp, for the stand-in driver.
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {
struct Kernel {
  const char *name;
  int buffers, dims, scratch;
  bool (*run)(const unsigned *grid, const unsigned *block, size_t sharedBytes, void *const *parameters);
};

template <typename T> T parameter(void *const *parameters, int i) {
  T value;
  std::memcpy(&value, parameters[i], sizeof(value));
  return value;
}

/// y[i] = x[i] * w[0] + c[0], a tile of 4 elements per block; the scratch memory of each
/// block holds the products between.
bool runAffine(const unsigned *grid, const unsigned *, size_t, void *const *p) {
  auto *x = parameter<const float *>(p, 0), *w = parameter<const float *>(p, 1), *c = parameter<const float *>(p, 2);
  auto *y = parameter<float *>(p, 3);
  auto n = parameter<int64_t>(p, 4);
  auto *scratch = parameter<float *>(p, 5);
  for (int64_t i = 0; i < int64_t(grid[0]) * 4 && i < n; ++i) {
    scratch[i] = x[i] * w[0];
    y[i] = scratch[i] + c[0];
  }
  return true;
}

const Kernel kernels[] = {{"affine", 4, 1, 1, runAffine}, {nullptr, 0, 0, 0, nullptr}};
} // namespace

extern "C" const Kernel *llmopt_emulated_kernels_v1() { return kernels; }
extern "C" const char *llmopt_emulated_error_v1() { return ""; }
extern "C" void llmopt_emulated_ranges_v1(const void *const *, const size_t *, size_t) {}
