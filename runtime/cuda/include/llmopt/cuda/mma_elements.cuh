// What the tensor-core kernels know about a type of operands. One step of K is always
// 32 bytes of a row, so that ldmatrix loads fragments of every type in one way: a is
// four words (rows g and g + 8, 16 bytes of K each), b two.
#pragma once

#include "llmopt/cuda/intrin.cuh"

namespace llmopt {

struct MmaF16 {
  using Input = f16;
  using Sum = float;
  __device__ static __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma_m16n8k16_f16(c, a, b);
  }
};

struct MmaBf16 {
  using Input = bf16;
  using Sum = float;
  __device__ static __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma_m16n8k16_bf16(c, a, b);
  }
};

/// f32 rounded to the 10 bits of tf32: about as accurate as f16 operands.
struct MmaTf32 {
  using Input = float;
  using Sum = float;
  __device__ static __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    uint32_t ar[4], br[2];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      ar[i] = to_tf32(__uint_as_float(a[i]));
#pragma unroll
    for (int i = 0; i < 2; ++i)
      br[i] = to_tf32(__uint_as_float(b[i]));
    mma_m16n8k8_tf32(c, ar, br);
  }
};

/// f32 as the sum of two tf32, three products of four: the error is that of f32.
struct MmaF32 {
  using Input = float;
  using Sum = float;
  struct Parts {
    uint32_t high, low;
    uint32_t finite; // `high`, or 0: infinity times a second part of 0 would be NaN
  };
  __device__ static __forceinline__ Parts split(uint32_t x) {
    const uint32_t high = to_tf32(__uint_as_float(x));
    const bool finite = (high & 0x7f800000u) != 0x7f800000u;
    return {high, finite ? to_tf32(__uint_as_float(x) - __uint_as_float(high)) : 0u, finite ? high : 0u};
  }
  __device__ static __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    const Parts a0 = split(a[0]), a1 = split(a[1]), a2 = split(a[2]), a3 = split(a[3]);
    const Parts b0 = split(b[0]), b1 = split(b[1]);
    mma_m16n8k8_tf32(c, {a0.low, a1.low, a2.low, a3.low}, {b0.finite, b1.finite});
    mma_m16n8k8_tf32(c, {a0.finite, a1.finite, a2.finite, a3.finite}, {b0.low, b1.low});
    mma_m16n8k8_tf32(c, {a0.high, a1.high, a2.high, a3.high}, {b0.high, b1.high});
  }
  /// For a b of at most 11 bits, as small integers are: two products are enough.
  __device__ static __forceinline__ void multiply_exact(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    const Parts a0 = split(a[0]), a1 = split(a[1]), a2 = split(a[2]), a3 = split(a[3]);
    mma_m16n8k8_tf32(c, {a0.low, a1.low, a2.low, a3.low}, b);
    mma_m16n8k8_tf32(c, {a0.high, a1.high, a2.high, a3.high}, b);
  }
};

/// Products are exact, sums f32 (sm_89).
struct MmaE4m3 {
  using Input = e4m3;
  using Sum = float;
  __device__ static __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma_m16n8k32_e4m3(c, a, b);
  }
};

/// Exact.
struct MmaS8 {
  using Input = int8_t;
  using Sum = int;
  __device__ static __forceinline__ void multiply(int (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma_m16n8k32_s8(c, a, b);
  }
};

} // namespace llmopt
