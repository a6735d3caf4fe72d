// Whole rows in registers: `Threads` threads share a row, each has up to `Chunks` chunks of
// 16 bytes of it, so a row is read once. A row of at most 1024 elements takes a warp.
#pragma once

#include "llmopt/cuda/intrin.cuh"

namespace llmopt {

/// How rows of T lie in registers. `Aligned`: rows begin at 16 bytes and are whole chunks.
template <typename T, int Threads, int Chunks, bool Aligned> struct RowForm {
  using Element = T;
  static constexpr int kThreads = Threads, kChunks = Chunks;
  static constexpr bool kAligned = Aligned;
  static constexpr int kElements = 16 / (int)sizeof(T); // of a chunk
  static constexpr int kMaxWidth = Threads * Chunks * kElements;
  /// Rows per block, and threads of a block: four rows where a warp has one.
  static constexpr int kRows = Threads == 32 ? 4 : 1, kBlock = Threads * kRows;
  static_assert(Threads % 32 == 0 && Threads <= 1024, "whole warps");
};

/// Where a thread stands: its row, and its place in it.
template <typename Form> struct RowPlace {
  int64_t row;
  int thread;
  __device__ __forceinline__ RowPlace()
      : row((int64_t)blockIdx.x * Form::kRows + threadIdx.x / Form::kThreads), thread(threadIdx.x % Form::kThreads) {}
  /// The block was launched for more rows than there are.
  __device__ __forceinline__ bool is_idle_block(int64_t rows) const {
    return (int64_t)blockIdx.x * Form::kRows >= rows;
  }
  /// The first element of chunk i.
  __device__ __forceinline__ int first(int i) const { return (i * Form::kThreads + thread) * Form::kElements; }
};

template <typename Form> using RowValues = float[Form::kChunks][Form::kElements];

/// Reads elements [first, first + kElements) of a row that begins at p[at]; `otherwise` beyond the width.
template <typename Form, typename U>
__device__ __forceinline__ void load_chunk(float (&to)[Form::kElements], global<const U> p, int64_t at, int first,
                                           int64_t width, float otherwise = 0.0f) {
  constexpr int kCount = Form::kElements;
  if constexpr (Form::kAligned) {
    if (first < width) {
      if constexpr (sizeof(U) * kCount == 16) {
        Chunk<U> chunk;
        chunk.unpack(load<uint4>(p, at + first));
#pragma unroll
        for (int e = 0; e < kCount; ++e)
          to[e] = chunk.values[e];
      } else if constexpr (sizeof(U) == 4) { // eight f32
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float4 v = load<float4>(p, at + first + 4 * half);
          to[4 * half] = v.x, to[4 * half + 1] = v.y, to[4 * half + 2] = v.z, to[4 * half + 3] = v.w;
        }
      } else {
        const uint2 bits = load<uint2>(p, at + first);
        const float2 low = Storage<U>::unpack(bits.x), high = Storage<U>::unpack(bits.y);
        to[0] = low.x, to[1] = low.y, to[2] = high.x, to[3] = high.y;
      }
    } else {
#pragma unroll
      for (int e = 0; e < kCount; ++e)
        to[e] = otherwise;
    }
  } else {
#pragma unroll
    for (int e = 0; e < kCount; ++e)
      to[e] = first + e < width ? to_float(p[at + first + e]) : otherwise;
  }
}

template <typename Form, typename U>
__device__ __forceinline__ void store_chunk(const float (&from)[Form::kElements], global<U> p, int64_t at, int first,
                                            int64_t width) {
  constexpr int kCount = Form::kElements;
  if constexpr (Form::kAligned && sizeof(U) * kCount == 16) {
    if (first < width) {
      Chunk<U> chunk;
#pragma unroll
      for (int e = 0; e < kCount; ++e)
        chunk.values[e] = from[e];
      store(p, at + first, chunk.pack());
    }
  } else {
#pragma unroll
    for (int e = 0; e < kCount; ++e)
      if (first + e < width)
        p[at + first + e] = from_float<U>(from[e]);
  }
}

/// Combines one value per thread of a row; every one of them gets the result. Takes part
/// as a whole block where rows are wider than a warp. `slot` tells apart reductions that
/// follow each other without a barrier.
template <typename Form, typename Combine>
__device__ __forceinline__ float row_reduce(float value, Combine combine, int slot) {
#pragma unroll
  for (int bits = 16; bits > 0; bits /= 2)
    value = combine(value, __shfl_xor_sync(0xffffffffu, value, bits));
  if constexpr (Form::kThreads > 32) {
    constexpr int kWarps = Form::kThreads / 32;
    LLMOPT_SHARED(float, partial, 3 * kWarps);
    const int warp = threadIdx.x / 32;
    if (threadIdx.x % 32 == 0)
      partial[slot * kWarps + warp] = value;
    __syncthreads();
    value = partial[slot * kWarps];
#pragma unroll
    for (int w = 1; w < kWarps; ++w)
      value = combine(value, (float)partial[slot * kWarps + w]);
  }
  return value;
}

/// The largest magnitude of what rows are quantized to.
template <typename Q> inline constexpr float kLargest = 127.0f;
template <> inline constexpr float kLargest<e4m3> = 448.0f;

/// The scale of a row whose largest magnitude is `largest`: 1 for a row of zeros, NaN
/// for one that holds a NaN or an infinity.
template <typename Q = int8_t> __device__ __forceinline__ float row_scale_of(float largest) {
  return largest == 0.0f ? 1.0f : largest / kLargest<Q> + (largest - largest);
}

/// One scale for all rows, and perhaps a zero point (null: 0); `lowest` is -127 or -128.
struct TensorScale {
  const float *scale;
  const int8_t *zero;
  float lowest;
};

/// round half to even of x / scale, plus the zero point, within [lowest, 127]; NaN gives `lowest`.
struct TensorRounding {
  float scale, zero, lowest;
  __device__ __forceinline__ explicit TensorRounding(const TensorScale &s)
      : scale(*global<const float>(s.scale)), zero(s.zero ? (float)*global<const int8_t>(s.zero) : 0.0f),
        lowest(s.lowest) {}
  __device__ __forceinline__ int operator()(float x) const {
    const float q = rintf(x / scale) + zero;
    return q != q ? (int)lowest : (int)fminf(fmaxf(q, lowest), 127.0f);
  }
};
/// Symmetric, by the scale of a row.
struct RowRounding {
  float scale;
  __device__ __forceinline__ int operator()(float x) const { return quantize(x / scale, 1.0f); }
};

/// Stores what `round` makes of a chunk.
template <typename Form, typename Round>
__device__ __forceinline__ void store_bytes(const float (&from)[Form::kElements], const Round &round, global<int8_t> q,
                                            int64_t at, int first, int64_t width) {
  int bytes[Form::kElements];
#pragma unroll
  for (int e = 0; e < Form::kElements; ++e)
    bytes[e] = round(from[e]);
  if constexpr (Form::kAligned) {
    if (first >= width)
      return;
    const uint32_t low = pack_bytes(bytes[0], bytes[1], bytes[2], bytes[3]);
    if constexpr (Form::kElements == 8)
      store(q, at + first, make_uint2(low, pack_bytes(bytes[4], bytes[5], bytes[6], bytes[7])));
    else
      store(q, at + first, low);
  } else {
#pragma unroll
    for (int e = 0; e < Form::kElements; ++e)
      if (first + e < width)
        q[at + first + e] = (int8_t)bytes[e];
  }
}

/// Quantizes a chunk by value / scale, round half to even.
template <typename Form>
__device__ __forceinline__ void store_quantized(const float (&from)[Form::kElements], float scale, global<int8_t> q,
                                                int64_t at, int first, int64_t width) {
  store_bytes<Form>(from, RowRounding{scale}, q, at, first, width);
}
/// The same to e4m3.
template <typename Form>
__device__ __forceinline__ void store_quantized(const float (&from)[Form::kElements], float scale, global<e4m3> q,
                                                int64_t at, int first, int64_t width) {
  uint32_t words[Form::kElements / 4];
#pragma unroll
  for (int i = 0; i < Form::kElements / 4; ++i)
    words[i] =
        pack_e4m3(from[4 * i] / scale, from[4 * i + 1] / scale, from[4 * i + 2] / scale, from[4 * i + 3] / scale);
  if constexpr (Form::kAligned) {
    if (first >= width)
      return;
    if constexpr (Form::kElements == 8)
      store(q, at + first, make_uint2(words[0], words[1]));
    else
      store(q, at + first, words[0]);
  } else {
#pragma unroll
    for (int e = 0; e < Form::kElements; ++e)
      if (first + e < width)
        q[at + first + e] = e4m3{(uint8_t)(words[e / 4] >> 8 * (e % 4))};
  }
}

} // namespace llmopt
