// Storage types of tensors and what converts between them: f32, f16, bf16, int8, e4m3 (whose
// conversions exist from sm_89 on; the compiler refuses it for older ones).
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

/// A number of eight bits: four of exponent, three of mantissa.
struct e4m3 {
  uint8_t bits;
};

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

/// Four numbers rounded to e4m3, half to even, beyond 448 to 448, as the bytes of a word.
__device__ __forceinline__ uint32_t pack_e4m3(float a, float b, float c, float d) {
#ifdef LLMOPT_EMULATE
  using llmopt_emulation::float_to_float8;
  return float_to_float8(a) | (uint32_t)float_to_float8(b) << 8 | (uint32_t)float_to_float8(c) << 16 |
         (uint32_t)float_to_float8(d) << 24;
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  uint32_t word;
  asm("{\n\t.reg .b16 low, high;\n\tcvt.rn.satfinite.e4m3x2.f32 low, %2, %1;\n\t"
      "cvt.rn.satfinite.e4m3x2.f32 high, %4, %3;\n\tmov.b32 %0, {low, high};\n\t}"
      : "=r"(word)
      : "f"(a), "f"(b), "f"(c), "f"(d));
  return word;
#else
  return 0;
#endif
}
/// The four numbers of a word.
__device__ __forceinline__ float4 unpack_e4m3(uint32_t word) {
#ifdef LLMOPT_EMULATE
  using llmopt_emulation::float8_to_float;
  return make_float4(float8_to_float((uint8_t)word), float8_to_float((uint8_t)(word >> 8)),
                     float8_to_float((uint8_t)(word >> 16)), float8_to_float((uint8_t)(word >> 24)));
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  uint32_t low, high; // two halves each
  asm("{\n\t.reg .b16 a, b;\n\tmov.b32 {a, b}, %2;\n\tcvt.rn.f16x2.e4m3x2 %0, a;\n\t"
      "cvt.rn.f16x2.e4m3x2 %1, b;\n\t}"
      : "=r"(low), "=r"(high)
      : "r"(word));
  const float2 x = Storage<f16>::unpack(low), y = Storage<f16>::unpack(high);
  return make_float4(x.x, x.y, y.x, y.y);
#else
  return make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#endif
}
__device__ __forceinline__ float to_float(e4m3 x) { return unpack_e4m3(x.bits).x; }

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
      } else if constexpr (sizeof(T) == 1) { // e4m3
        const float4 four = unpack_e4m3(words[i]);
        values[4 * i] = four.x, values[4 * i + 1] = four.y, values[4 * i + 2] = four.z, values[4 * i + 3] = four.w;
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
      else if constexpr (sizeof(T) == 1)
        words[i] = pack_e4m3(values[4 * i], values[4 * i + 1], values[4 * i + 2], values[4 * i + 3]);
      else
        words[i] = Storage<T>::pack(values[2 * i], values[2 * i + 1]);
    }
    return make_uint4(words[0], words[1], words[2], words[3]);
  }
};

} // namespace llmopt
