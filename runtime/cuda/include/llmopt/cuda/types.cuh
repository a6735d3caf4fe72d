// Storage types of tensors and what converts between them: f32, f16, bf16, int8.
// Kernels compute in f32 (or int32) and round once, half to even, when they store.
#pragma once

#include "llmopt/cuda/common.cuh"

#ifndef LLMOPT_EMULATE
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace llmopt {

#ifdef LLMOPT_EMULATE
struct f16 {
  uint16_t bits;
};
struct bf16 {
  uint16_t bits;
};
#else
using f16 = __half;
using bf16 = __nv_bfloat16;
#endif

__device__ __forceinline__ float to_float(float x) { return x; }
#ifdef LLMOPT_EMULATE
inline float to_float(f16 x) { return llmopt_emulation::half_to_float(x.bits); }
inline float to_float(bf16 x) { return llmopt_emulation::bfloat_to_float(x.bits); }
#else
__device__ __forceinline__ float to_float(f16 x) { return __half2float(x); }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
#endif

template <typename T> struct Storage;

template <> struct Storage<float> {
  static constexpr int kPerWord = 1;
  __device__ static __forceinline__ float from(float x) { return x; }
};

template <> struct Storage<f16> {
  static constexpr int kPerWord = 2;
#ifdef LLMOPT_EMULATE
  static f16 from(float x) { return {llmopt_emulation::float_to_half(x)}; }
  static uint32_t pack(float low, float high) { return uint32_t(from(high).bits) << 16 | from(low).bits; }
  static float2 unpack(uint32_t word) { return {to_float(f16{(uint16_t)word}), to_float(f16{(uint16_t)(word >> 16)})}; }
#else
  __device__ static __forceinline__ f16 from(float x) { return __float2half_rn(x); }
  __device__ static __forceinline__ uint32_t pack(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t *>(&pair);
  }
  __device__ static __forceinline__ float2 unpack(uint32_t word) {
    return __half22float2(*reinterpret_cast<const __half2 *>(&word));
  }
#endif
};

template <> struct Storage<bf16> {
  static constexpr int kPerWord = 2;
#ifdef LLMOPT_EMULATE
  static bf16 from(float x) { return {llmopt_emulation::float_to_bfloat(x)}; }
  static uint32_t pack(float low, float high) { return uint32_t(from(high).bits) << 16 | from(low).bits; }
#else
  __device__ static __forceinline__ bf16 from(float x) { return __float2bfloat16_rn(x); }
  __device__ static __forceinline__ uint32_t pack(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t *>(&pair);
  }
#endif
  __device__ static __forceinline__ float2 unpack(uint32_t word) {
    return make_float2(__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u));
  }
};

template <typename T> __device__ __forceinline__ T from_float(float x) { return Storage<T>::from(x); }

/// x / scale rounded half to even and kept within [-127, 127]; 0 for NaN.
__device__ __forceinline__ int quantize(float x, float inverse_scale) {
  const float scaled = x * inverse_scale;
  return scaled != scaled ? 0 : (int)rintf(fminf(fmaxf(scaled, -127.0f), 127.0f));
}

/// Four small integers as the bytes of a word.
__device__ __forceinline__ uint32_t pack_bytes(int a, int b, int c, int d) {
  return (uint32_t)(a & 255) | (uint32_t)(b & 255) << 8 | (uint32_t)(c & 255) << 16 | (uint32_t)d << 24;
}

/// 16 bytes of T as floats.
template <typename T> struct Chunk {
  static constexpr int kSize = 16 / (int)sizeof(T);
  float values[kSize];

  __device__ __forceinline__ void unpack(uint4 bits) {
    const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (sizeof(T) == 4) {
        values[i] = __uint_as_float(words[i]);
      } else {
        const float2 pair = Storage<T>::unpack(words[i]);
        values[2 * i] = pair.x;
        values[2 * i + 1] = pair.y;
      }
    }
  }
  __device__ __forceinline__ uint4 pack() const {
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (sizeof(T) == 4)
        words[i] = __float_as_uint(values[i]);
      else
        words[i] = Storage<T>::pack(values[2 * i], values[2 * i + 1]);
    }
    return make_uint4(words[0], words[1], words[2], words[3]);
  }
};

} // namespace llmopt
