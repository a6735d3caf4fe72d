// The largest elements of rows, and where they are: heads of language models and
// classifiers. NaN counts as larger than everything; of equals the first comes first.
#pragma once

#include "llmopt/cuda/intrin.cuh"

namespace llmopt {

constexpr int kTopThreads = 256;

/// An element with its place; `index` < 0 is none.
struct Ranked {
  float value;
  int64_t index;
  /// Whether this one comes before `other`.
  __device__ __forceinline__ bool precedes(const Ranked &other) const {
    if (other.index < 0 || index < 0)
      return index >= 0;
    const bool nan = value != value, other_nan = other.value != other.value;
    if (nan != other_nan)
      return nan;
    return nan || value == other.value ? index < other.index : value > other.value;
  }
};

/// values[row, i], indices[row, i]: the i-th largest of x[row, ...], i < k <= width. One block
/// of kTopThreads threads per row; every pass over the row finds one, k is small.
template <typename T, typename Index>
__device__ __forceinline__ void top_k_rows(const T *x, T *values, Index *indices, int64_t width, int64_t k) {
  constexpr int kWarps = kTopThreads / 32;
  LLMOPT_SHARED(float, best_values, 2 * kWarps);
  LLMOPT_SHARED(int64_t, best_indices, 2 * kWarps);
  const global<const T> row = global<const T>(x) + (int64_t)blockIdx.x * width;
  Ranked last = {0.0f, -1};
  for (int64_t i = 0; i < k; ++i) {
    Ranked best = {0.0f, -1};
    for (int64_t j = threadIdx.x; j < width; j += kTopThreads) {
      const Ranked candidate = {to_float(row[j]), j};
      if ((last.index < 0 || last.precedes(candidate)) && candidate.precedes(best))
        best = candidate;
    }
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) {
      const Ranked other = {__shfl_xor_sync(0xffffffffu, best.value, bits),
                            (int64_t)__shfl_xor_sync(0xffffffffu, (long long)best.index, bits)};
      if (other.precedes(best))
        best = other;
    }
    const int slot = i % 2 * kWarps; // so that one barrier per pass is enough
    if (threadIdx.x % 32 == 0) {
      best_values[slot + threadIdx.x / 32] = best.value;
      best_indices[slot + threadIdx.x / 32] = best.index;
    }
    __syncthreads();
    best = {best_values[slot], best_indices[slot]};
#pragma unroll
    for (int w = 1; w < kWarps; ++w) {
      const Ranked other = {best_values[slot + w], best_indices[slot + w]};
      if (other.precedes(best))
        best = other;
    }
    if (threadIdx.x == 0) {
      const int64_t at = (int64_t)blockIdx.x * k + i;
      if (values)
        store(global<T>(values), at, from_float<T>(best.value));
      store(global<Index>(indices), at, (Index)best.index);
    }
    last = best;
  }
}

} // namespace llmopt
