// Packed weights, 16 bytes at a time along K. Row n of every form holds column n of W:
//
//   FloatWeight<T>   [N][K'] in f32, f16 or bf16, K' = K rounded up to 16 bytes, zeros
//   Int8Weight       [N][K'] int8, K' = K rounded up to 16; one scale per row
//   Int4Weight       [N][G B / 2] bytes, two numbers each, the lower half first, as of
//                    MatMulNBits: q in 0..15, w = (q - zero) scale of its group of G
//                    (a multiple of 32) along K; B = ceil(K / G); scales [N][B];
//                    zeros [N][ceil(B / 2)] packed likewise, or none for `Offset`
#pragma once

#include "llmopt/cuda/memory.cuh"
#include "llmopt/cuda/types.cuh"

namespace llmopt {

/// 2^23 + i as a float has i in its low bits: the way from small integers to floats
/// that needs no conversion.
__device__ __forceinline__ float small_to_float(uint32_t i, float bias) {
  return __uint_as_float(i | 0x4b000000u) - bias;
}

template <typename T> struct FloatWeight {
  static constexpr int kElements = 16 / (int)sizeof(T), kPiece = kElements;
  const T *data;

  __device__ __forceinline__ int64_t chunks(int64_t k) const { return (k + kElements - 1) / kElements; }
  __device__ __forceinline__ uint4 load_chunk(int64_t row, int64_t chunk, int64_t k) const {
    return load_stream<uint4>(global<const T>(data), (row * chunks(k) + chunk) * kElements);
  }
  __device__ __forceinline__ float chunk_scale(int64_t, int64_t, int64_t) const { return 1.0f; }
  __device__ __forceinline__ float chunk_zero(int64_t, int64_t, int64_t) const { return 0.0f; }
  __device__ __forceinline__ float row_scale(int64_t) const { return 1.0f; }
  static __device__ __forceinline__ void unpack(uint4 bits, int, float, float (&w)[kPiece]) {
    Chunk<T> chunk;
    chunk.unpack(bits);
#pragma unroll
    for (int i = 0; i < kPiece; ++i)
      w[i] = chunk.values[i];
  }
};

__device__ __forceinline__ uint32_t word_of(uint4 bits, int i) {
  return i == 0 ? bits.x : i == 1 ? bits.y : i == 2 ? bits.z : bits.w;
}

struct Int8Weight {
  static constexpr int kElements = 16, kPiece = 8;
  static constexpr int kGroup = 0, kSliceBytes = 32; // of 32 elements; scales are per row
  const int8_t *data;
  const float *scales;

  __device__ __forceinline__ int64_t chunks(int64_t k) const { return (k + 15) / 16; }
  __device__ __forceinline__ uint4 load_chunk(int64_t row, int64_t chunk, int64_t k) const {
    return load_stream<uint4>(global<const int8_t>(data), (row * chunks(k) + chunk) * 16);
  }
  __device__ __forceinline__ float chunk_scale(int64_t, int64_t, int64_t) const { return 1.0f; }
  __device__ __forceinline__ float chunk_zero(int64_t, int64_t, int64_t) const { return 0.0f; }
  __device__ __forceinline__ float row_scale(int64_t row) const { return global<const float>(scales)[row]; }
  static __device__ __forceinline__ void unpack(uint4 bits, int piece, float, float (&w)[kPiece]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) { // 128 more makes them unsigned
      const uint32_t word = word_of(bits, 2 * piece + i / 4) ^ 0x80808080u;
      w[i] = small_to_float(word >> 8 * (i % 4) & 255, 8388608.0f + 128.0f);
    }
  }
};

template <int Group, typename Scale, bool HasZeros, int Offset = 8> struct Int4Weight {
  static constexpr int kElements = 32, kPiece = 8;
  static constexpr int kGroup = Group, kSliceBytes = 16; // of 32 elements
  static constexpr bool kHasZeros = HasZeros;
  using ScaleType = Scale;
  static_assert(Group % 32 == 0, "one scale for 16 bytes");
  const uint8_t *data;
  const Scale *scales;
  const uint8_t *zeros;

  __device__ __forceinline__ int64_t groups(int64_t k) const { return (k + Group - 1) / Group; }
  __device__ __forceinline__ int64_t chunks(int64_t k) const { return groups(k) * (Group / 32); }
  __device__ __forceinline__ uint4 load_chunk(int64_t row, int64_t chunk, int64_t k) const {
    return load_stream<uint4>(global<const uint8_t>(data), (row * chunks(k) + chunk) * 16);
  }
  __device__ __forceinline__ float chunk_scale(int64_t row, int64_t chunk, int64_t k) const {
    return to_float(global<const Scale>(scales)[row * groups(k) + chunk / (Group / 32)]);
  }
  __device__ __forceinline__ float chunk_zero(int64_t row, int64_t chunk, int64_t k) const {
    if (!HasZeros)
      return (float)Offset;
    const int64_t group = chunk / (Group / 32);
    return (float)(global<const uint8_t>(zeros)[row * ((groups(k) + 1) / 2) + group / 2] >> 4 * (group % 2) & 15);
  }
  __device__ __forceinline__ float row_scale(int64_t) const { return 1.0f; }
  static __device__ __forceinline__ void unpack(uint4 bits, int piece, float zero, float (&w)[kPiece]) {
    const uint32_t word = word_of(bits, piece);
#pragma unroll
    for (int i = 0; i < 8; ++i)
      w[i] = small_to_float(word >> 4 * i & 15, 8388608.0f + zero);
  }
};

/// An int4 weight [k, n] whose parts lie in one piece, each from a multiple of 16 bytes:
/// nibbles, scales, zero points where it has them. G divides k.
template <typename Weight> __device__ __forceinline__ Weight packed_int4(const uint8_t *packed, int64_t n, int64_t k) {
  using Scale = typename Weight::ScaleType;
  const int64_t scales = (n * k / 2 + 15) / 16 * 16;
  const int64_t zeros = scales + (n * (k / Weight::kGroup) * (int64_t)sizeof(Scale) + 15) / 16 * 16;
  return {packed, reinterpret_cast<const Scale *>(packed + scales), Weight::kHasZeros ? packed + zeros : nullptr};
}

} // namespace llmopt
