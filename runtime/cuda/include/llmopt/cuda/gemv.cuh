// y = epilogue(x W) for few rows (M <= 8): the time is that of reading W once.
//
// Lanes of a warp read neighbouring 16 bytes of a row of packed weights (weights.cuh)
// that L1 does not keep, `Columns` rows at a time so that several reads are under way and
// x is read once for all of them. Sums are f32: a lane adds its chunks in order, lanes and
// then warps are added in a fixed tree, so bits do not depend on the launch.
#pragma once

#include "llmopt/cuda/epilogue.cuh"
#include "llmopt/cuda/intrin.cuh"
#include "llmopt/cuda/weights.cuh"

namespace llmopt {

constexpr int kGemvThreads = 128;

/// `Piece` elements of a row of x from k on; zeros beyond the row.
template <bool Aligned, int Piece, typename X>
__device__ __forceinline__ void load_piece(global<const X> x, int64_t k, int64_t k_end, float (&to)[Piece]) {
  constexpr int kCount = 16 / (int)sizeof(X) < Piece ? 16 / (int)sizeof(X) : Piece;
  if (Aligned && k + Piece <= k_end) {
    if constexpr (kCount == 16 / (int)sizeof(X)) {
#pragma unroll
      for (int i = 0; i < Piece; i += kCount) {
        Chunk<X> chunk;
        chunk.unpack(load<uint4>(x, k + i));
#pragma unroll
        for (int e = 0; e < kCount; ++e)
          to[i + e] = chunk.values[e];
      }
    } else { // four 16-bit floats
      load_run(x, k, to);
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < Piece; ++i)
    to[i] = k + i < k_end ? to_float(x[k + i]) : 0.0f;
}

/// One block of kGemvThreads gives Columns * 4 / KWarps columns of all M rows, KWarps warps
/// sharing K; launch ceil(N / that). `Aligned`: every row of x begins at 16 bytes.
template <int M, int Columns, int KWarps, bool Aligned, typename X, typename Weight, typename Epilogue>
__device__ __forceinline__ void gemv(const X *x, Weight weight, GemmShape shape, Epilogue epilogue) {
  constexpr int kWarps = kGemvThreads / 32, kPiece = Weight::kPiece;
  static_assert(kWarps % KWarps == 0, "whole groups of warps");
  LLMOPT_SHARED(float, partial, kWarps * M * Columns);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t first = ((int64_t)blockIdx.x * (kWarps / KWarps) + warp / KWarps) * Columns;
  const global<const X> rows(x);
  const int64_t chunks = weight.chunks(shape.k);
  float sums[M][Columns] = {};
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
#pragma unroll
    for (int piece = 0; piece < Weight::kElements / kPiece; ++piece) {
      const int64_t k = chunk * Weight::kElements + piece * kPiece;
      float xs[M][kPiece];
#pragma unroll
      for (int m = 0; m < M; ++m)
        load_piece<Aligned>(rows + (shape.row_offset + (m < shape.rows ? m : 0) * shape.row_stride), k, shape.k, xs[m]);
#pragma unroll
      for (int c = 0; c < Columns; ++c) {
        float w[kPiece];
        Weight::unpack(bits[c], piece, zero[c], w);
#pragma unroll
        for (int m = 0; m < M; ++m) {
          float sum = 0.0f;
#pragma unroll
          for (int i = 0; i < kPiece; ++i)
            sum = fmaf(xs[m][i], w[i], sum);
          sums[m][c] = fmaf(sum, scale[c], sums[m][c]);
        }
      }
    }
  }
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      const float sum = warp_sum(sums[m][c]);
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
    float sum = 0.0f;
    for (int w = 0; w < KWarps; ++w)
      sum += partial[((group * KWarps + w) * M + m) * Columns + c];
    const float result[1] = {sum * weight.row_scale(column)};
    epilogue(result, m, column, shape.n, 1, false);
  }
}

} // namespace llmopt
