// Words of fragments from weights of four and eight bits, in registers (mma_gemm_narrow.cuh).
// A lane holds elements k = 8 t .. 8 t + 7 of a column; word i is what an element type of
// x has in 32 bits of them: one f32, two of 16 bits, four int8.
#pragma once

#include "llmopt/cuda/intrin.cuh"
#include "llmopt/cuda/weights.cuh"

namespace llmopt {

/// Of eight int4 in a word. `kScaled`: what comes out are weights, rounded to T; else they
/// are the exact q - zero, and sums of a group are scaled.
template <typename T> struct Int4Words;

/// 1024 + q and 1024 + 16 q' (bytes beside 0x64, the exponent of 1024) become q - zero and
/// q' - zero by one exact fma; times the scale, rounded to 16 bits.
template <> struct Int4Words<f16> {
  static constexpr bool kScaled = true;
  uint32_t scale, zero; // both halves: scale; -(1024 + zero) and -(64 + zero)
  __device__ __forceinline__ Int4Words(float s, float z)
      : scale(Storage<f16>::pack(s, s)), zero(Storage<f16>::pack(-1024.0f - z, -64.0f - z)) {}
  __device__ __forceinline__ uint32_t operator()(uint32_t word, int i) const {
    const uint32_t q = __byte_perm(word, 0x64646464u, 0x4040u | (uint32_t)(i * 0x101)) & 0x64f0640fu;
    return half2_mul(half2_fma(q, 0x2c003c00u, zero), scale); // times 1 and 1 / 16
  }
};

template <> struct Int4Words<bf16> {
  static constexpr bool kScaled = true;
  float scale, zero;
  __device__ __forceinline__ Int4Words(float s, float z) : scale(s), zero(8388608.0f + z) {}
  __device__ __forceinline__ uint32_t operator()(uint32_t word, int i) const {
    return Storage<bf16>::pack(small_to_float(word >> 8 * i & 15, zero) * scale,
                               small_to_float(word >> (8 * i + 4) & 15, zero) * scale);
  }
};

template <> struct Int4Words<float> {
  static constexpr bool kScaled = false;
  float zero;
  __device__ __forceinline__ Int4Words(float, float z) : zero(8388608.0f + z) {}
  __device__ __forceinline__ uint32_t operator()(uint32_t word, int i) const {
    return __float_as_uint(small_to_float(word >> 4 * i & 15, zero));
  }
};

template <> struct Int4Words<int8_t> {
  static constexpr bool kScaled = false;
  uint32_t zeros; // in every byte
  __device__ __forceinline__ Int4Words(float, float z) : zeros((uint32_t)(int)z * 0x01010101u) {}
  __device__ __forceinline__ uint32_t operator()(uint32_t word, int i) const {
    const uint32_t q = __byte_perm(word & 0x0f0f0f0fu, word >> 4 & 0x0f0f0f0fu, i == 0 ? 0x5140u : 0x7362u);
    return ((q | 0x80808080u) - zeros) ^ 0x80808080u; // no byte borrows from the next
  }
};

/// Of eight int8 in two words: exact in every type; a column has one scale.
template <typename T> struct Int8Words;

template <> struct Int8Words<f16> {
  __device__ __forceinline__ Int8Words(float, float) {}
  __device__ __forceinline__ uint32_t operator()(uint2 bits, int i) const {
    // 1024 + 128 + q beside the exponent of 1024, less 1152
    const uint32_t bytes = (i < 2 ? bits.x : bits.y) ^ 0x80808080u;
    return half2_fma(__byte_perm(bytes, 0x64646464u, i % 2 == 0 ? 0x4140u : 0x4342u), 0x3c003c00u, 0xe480e480u);
  }
};

template <> struct Int8Words<float> {
  __device__ __forceinline__ Int8Words(float, float) {}
  __device__ __forceinline__ uint32_t operator()(uint2 bits, int i) const {
    const uint32_t bytes = (i < 4 ? bits.x : bits.y) ^ 0x80808080u;
    return __float_as_uint(small_to_float(bytes >> 8 * (i % 4) & 255, 8388608.0f + 128.0f));
  }
};

template <> struct Int8Words<bf16> {
  __device__ __forceinline__ Int8Words(float, float) {}
  __device__ __forceinline__ uint32_t operator()(uint2 bits, int i) const {
    const Int8Words<float> element(1.0f, 0.0f);
    return Storage<bf16>::pack(__uint_as_float(element(bits, 2 * i)), __uint_as_float(element(bits, 2 * i + 1)));
  }
};

template <typename T, typename Weight> struct NarrowWords {
  using Words = Int4Words<T>;
  using Bits = uint32_t;
};
template <typename T> struct NarrowWords<T, Int8Weight> {
  using Words = Int8Words<T>;
  using Bits = uint2;
};

/// Scales of int8 rows of x: `per_row` of each, one for the row or one per group.
struct GroupScales {
  const float *data;
  int64_t per_row;
};

} // namespace llmopt
