// y = epilogue(x W) for few rows of int8 (M <= 8) by int8 or int4 weights: as gemv.cuh, the
// time is that of reading W once, K bytes a column of int8, K (G / 2 + 4) / G of int4.
//
// Products are dp4a. With int8 weights sums are exact int32 to the end, which the epilogue
// scales; with int4 they are exact within a group, times both scales, and f32 from there.
#pragma once

#include "llmopt/cuda/gemv.cuh"
#include "llmopt/cuda/narrow_words.cuh"

namespace llmopt {

/// 16 bytes of W as words of four int8.
template <typename Weight> struct IntegerChunk {
  using Sum = float;
  static constexpr int kWords = 8;
  __device__ static __forceinline__ void unpack(uint4 bits, float zero, uint32_t (&w)[8]) {
    const Int4Words<int8_t> words(1.0f, zero);
#pragma unroll
    for (int i = 0; i < 8; ++i)
      w[i] = words(word_of(bits, i / 2), i % 2);
  }
};
template <> struct IntegerChunk<Int8Weight> {
  using Sum = int;
  static constexpr int kWords = 4;
  __device__ static __forceinline__ void unpack(uint4 bits, float, uint32_t (&w)[4]) {
    w[0] = bits.x, w[1] = bits.y, w[2] = bits.z, w[3] = bits.w;
  }
};

/// Four bytes of a row of x in every word, from k on; zeros beyond the row.
template <bool Aligned, int Words>
__device__ __forceinline__ void load_words(global<const int8_t> x, int64_t k, int64_t k_end, uint32_t (&to)[Words]) {
  if (Aligned && k + 4 * Words <= k_end) {
#pragma unroll
    for (int i = 0; i < Words; i += 4) {
      const uint4 bits = load<uint4>(x, k + 4 * i);
      to[i] = bits.x, to[i + 1] = bits.y, to[i + 2] = bits.z, to[i + 3] = bits.w;
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < Words; ++i) {
    to[i] = 0;
#pragma unroll
    for (int e = 0; e < 4; ++e)
      if (k + 4 * i + e < k_end)
        to[i] |= (uint32_t)(uint8_t)x[k + 4 * i + e] << 8 * e;
  }
}

/// Launch as gemv. `scales` are those of x where the weight is int4.
template <int M, int Columns, int KWarps, bool Aligned, typename Weight, typename Epilogue>
__device__ __forceinline__ void gemv_integer(const int8_t *x, Weight weight, GemmShape shape, Epilogue epilogue,
                                             GroupScales scales) {
  constexpr int kWarps = kGemvThreads / 32, kWords = IntegerChunk<Weight>::kWords;
  constexpr bool kIsInt4 = Weight::kGroup != 0;
  static_assert(kWarps % KWarps == 0, "whole groups of warps");
  using Sum = typename IntegerChunk<Weight>::Sum;
  LLMOPT_SHARED(Sum, partial, kWarps * M * Columns);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t first = ((int64_t)blockIdx.x * (kWarps / KWarps) + warp / KWarps) * Columns;
  const global<const int8_t> rows(x);
  const int64_t chunks = weight.chunks(shape.k);
  Sum sums[M][Columns] = {};
  for (int64_t chunk = lane + 32 * (warp % KWarps); chunk < chunks; chunk += 32 * KWarps) {
    uint4 bits[Columns];
    float scale[Columns], zero[Columns];
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      const int64_t column = first + c < shape.n ? first + c : shape.n - 1; // one that exists
      bits[c] = weight.load_chunk(column, chunk, shape.k);
      scale[c] = weight.chunk_scale(column, chunk, shape.k);
      zero[c] = weight.chunk_zero(column, chunk, shape.k);
    }
    uint32_t xs[M][kWords];
    float row_scale[M];
#pragma unroll
    for (int m = 0; m < M; ++m) {
      const int64_t row = m < shape.rows ? m : 0;
      load_words<Aligned>(rows + (shape.row_offset + row * shape.row_stride), chunk * Weight::kElements, shape.k,
                          xs[m]);
      if constexpr (kIsInt4)
        row_scale[m] = global<const float>(
            scales.data)[row * scales.per_row + (scales.per_row > 1 ? chunk / (Weight::kGroup / 32) : 0)];
    }
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      uint32_t w[kWords];
      IntegerChunk<Weight>::unpack(bits[c], zero[c], w);
#pragma unroll
      for (int m = 0; m < M; ++m) {
        int sum = 0;
#pragma unroll
        for (int i = 0; i < kWords; ++i)
          sum = __dp4a((int)xs[m][i], (int)w[i], sum);
        if constexpr (kIsInt4)
          sums[m][c] = fmaf((float)sum, row_scale[m] * scale[c], sums[m][c]);
        else
          sums[m][c] += sum;
      }
    }
  }
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      const Sum sum = warp_sum(sums[m][c]);
      if (lane == 0)
        partial[(warp * M + m) * Columns + c] = sum;
    }
  __syncthreads();
  // One thread per result adds what the warps that share K have.
  for (int i = threadIdx.x; i < kWarps / KWarps * M * Columns; i += kGemvThreads) {
    const int c = i % Columns, m = i / Columns % M, group = i / Columns / M;
    const int64_t column = ((int64_t)blockIdx.x * (kWarps / KWarps) + group) * Columns + c;
    if (m >= shape.rows || column >= shape.n)
      continue;
    Sum result[1] = {0};
    for (int w = 0; w < KWarps; ++w)
      result[0] += partial[((group * KWarps + w) * M + m) * Columns + c];
    epilogue(result, m, column, shape.n, 1, false);
  }
}

} // namespace llmopt
