// y = epilogue(x W) on tensor cores for weights of fewer bits than x (weights.cuh):
//
//   Int4Weight   x in f16, bf16, f32, or int8 with a scale per row or group of it
//   Int8Weight   x in f16, bf16, f32
//
// Numbers become fragments in registers: lane (g, t) takes what row g of W holds for
// k = 8 t .. 8 t + 7 of a slice of 32, and the same k of x. Both operands so follow the
// same order along K, which the instruction does not care about, and no weight is moved in
// advance: int4 has the bytes of MatMulNBits. What an instruction multiplies:
//
//   int4, x of 16 bits   (q - zero) scale, rounded to 16 bits
//   int4, x f32          x as two tf32 by the exact q - zero; sums of a group times its scale
//   int4, x int8         exact integers; int32 sums of a group times both scales
//   int8                 x by the exact q; sums times the scale of the column at the end
//
// A block reads BN columns of W once per BM rows: K (G / 2 + 4) / G bytes a column of int4
// with f32 scales, K + 4 of int8.
#pragma once

#include "llmopt/cuda/mma_gemm.cuh"
#include "llmopt/cuda/narrow_words.cuh"

namespace llmopt {

/// A tile of BM x BN by warps of WM x WN; slices of 32 along K.
template <typename X, typename Weight, int BM, int BN, int WM, int WN, int Stages> struct NarrowTile {
  static constexpr int kM = BM, kN = BN, kBytes = 32 * (int)sizeof(X), kWarpM = WM, kWarpN = WN, kStages = Stages;
  static constexpr int kWeightBytes = Weight::kSliceBytes;
  static constexpr int kWarps = (BM / WM) * (BN / WN), kThreads = 32 * kWarps;
  static constexpr int kStageBytes = BM * kBytes + BN * kWeightBytes;
  static constexpr int kPitch = WN + 4;
  static constexpr int kResultBytes = kWarps * 16 * kPitch * 4;
  static constexpr int kRingBytes = Stages * kStageBytes;
  static constexpr int kSharedBytes = kRingBytes > kResultBytes ? kRingBytes : kResultBytes;
  static_assert(WM % 16 == 0 && WN % 16 == 0 && BM % WM == 0 && BN % WN == 0, "whole fragments");
  static_assert(BM * kBytes / 16 % kThreads == 0, "whole chunks per thread");
};

/// What a lane holds of a column in a slice.
__device__ __forceinline__ void load_narrow(shared<unsigned char> at, int row, int t, uint32_t &bits) {
  bits = load<uint32_t>(at, 16 * row + 4 * t);
}
__device__ __forceinline__ void load_narrow(shared<unsigned char> at, int row, int t, uint2 &bits) {
  bits = load<uint2>(at, 32 * row + 8 * t);
}

/// What a lane holds of a row of x in a slice of `KBytes`: k = 8 t .. 8 t + 7.
template <int KBytes>
__device__ __forceinline__ void load_eight(shared<unsigned char> at, int row, int t, uint32_t (&words)[KBytes / 16]) {
  if constexpr (KBytes == 32) { // eight lanes read 64 bytes: no bank twice
    const uint2 bits = load<uint2>(at, row * KBytes + 8 * t);
    words[0] = bits.x, words[1] = bits.y;
  } else {
#pragma unroll
    for (int i = 0; i < KBytes / 64; ++i) {
      const int chunk = KBytes / 64 * t + i;
      const uint4 bits = load<uint4>(at, row * KBytes + 16 * (chunk ^ swizzle<KBytes>(row)));
      words[4 * i] = bits.x, words[4 * i + 1] = bits.y, words[4 * i + 2] = bits.z, words[4 * i + 3] = bits.w;
    }
  }
}

template <typename Mma> struct NarrowProduct {
  template <typename Sum>
  __device__ static __forceinline__ void multiply(Sum (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    if constexpr (sizeof(typename Mma::Input) == 4)
      Mma::multiply_exact(c, a, b);
    else
      Mma::multiply(c, a, b);
  }
};

/// One tile; launch as mma_gemm. Rows of x are aligned to XAlign bytes. `scales` are read
/// where x is int8.
template <typename Mma, typename Tile, int XAlign, bool Splits = false, typename Weight, typename Epilogue>
__device__ __forceinline__ void mma_gemm_narrow(const typename Mma::Input *x, Weight weight, GemmShape shape,
                                                Epilogue epilogue, GroupScales scales = {nullptr, 0},
                                                GemmSplit split = {1, nullptr, nullptr}) {
  using T = typename Mma::Input;
  constexpr bool kIsInt4 = Weight::kGroup != 0;
  using Words = typename NarrowWords<T, Weight>::Words;
  constexpr bool kScaledWords = kIsInt4 && sizeof(T) == 2, kPerGroup = kIsInt4 && !kScaledWords;
  constexpr int kRowsOfMma = Tile::kWarpM / 16, kColumnsOfMma = Tile::kWarpN / 8, kWords = Tile::kBytes / 16;
  constexpr int kGroupSlices = kIsInt4 ? Weight::kGroup / 32 : 1, kWeightChunks = Tile::kWeightBytes / 16;
  LLMOPT_DYNAMIC_SHARED(memory);
  const int64_t row_tiles = (shape.rows + Tile::kM - 1) / Tile::kM, column_tiles = (shape.n + Tile::kN - 1) / Tile::kN;
  const int64_t tiles = row_tiles * column_tiles;
  if (tiles == 0)
    return;
  const int64_t tile = Splits ? blockIdx.x % tiles : blockIdx.x, part = Splits ? blockIdx.x / tiles : 0;
  if (part >= split.splits || tile >= tiles)
    return; // launched for more rows than there are
  int64_t row_tile, column_tile;
  pick_tile(tile, row_tiles, column_tiles, row_tile, column_tile);
  const int64_t first_row = row_tile * Tile::kM, first_column = column_tile * Tile::kN;
  const int64_t chunks = weight.chunks(shape.k);
  const SliceLoader<T, Tile::kM, Tile::kBytes, Tile::kThreads, XAlign> load_x(
      x + shape.row_offset + first_row * shape.row_stride, shape.row_stride, shape.rows - first_row);
  const global<const uint8_t> packed(reinterpret_cast<const uint8_t *>(weight.data));

  const int all = (int)((shape.k + 31) / 32);
  const int begin = Splits ? (int)(all * part / split.splits) : 0;
  const int end = Splits ? (int)(all * (part + 1) / split.splits) : all;
  auto fetch = [&](int slice) {
    if (slice < end) {
      const shared<unsigned char> to = memory + (slice - begin) % Tile::kStages * Tile::kStageBytes;
      load_x(to, (int64_t)slice * 32, shape.k);
      for (int i = threadIdx.x; i < Tile::kN * kWeightChunks; i += Tile::kThreads) {
        const int64_t column = first_column + i / kWeightChunks,
                      chunk = (int64_t)slice * kWeightChunks + i % kWeightChunks;
        const bool inside = column < shape.n && chunk < chunks;
        cp_async<16>(smem_address(to + (Tile::kM * Tile::kBytes + 16 * i)),
                     packed + (inside ? (column * chunks + chunk) * 16 : 0), inside ? 16 : 0);
      }
    }
    cp_async_commit();
  };

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps_n = Tile::kN / Tile::kWarpN;
  const int g = lane / 4, t = lane % 4;
  const int warp_row = warp / warps_n * Tile::kWarpM, warp_column = warp % warps_n * Tile::kWarpN;
  // Where there is no such row or column: one that exists.
  auto column_of = [&](int within) {
    const int64_t column = first_column + warp_column + within;
    return column < shape.n ? column : shape.n - 1;
  };
  auto row_of = [&](int within) {
    const int64_t row = first_row + warp_row + within;
    return row < shape.rows ? row : shape.rows - 1;
  };
  float sums[kRowsOfMma][kColumnsOfMma][4] = {};
  typename Mma::Sum parts[kPerGroup ? kRowsOfMma : 1][kPerGroup ? kColumnsOfMma : 1][4] = {};
#pragma unroll
  for (int i = 0; i < Tile::kStages - 1; ++i)
    fetch(begin + i);
  for (int slice = begin; slice < end; ++slice) {
    // Scales and zero points are on their way while the slice is.
    float column_scales[kColumnsOfMma][2] = {}, zeros[kColumnsOfMma] = {};
    const bool ends = kPerGroup && ((slice + 1) % kGroupSlices == 0 || slice + 1 == end);
#pragma unroll
    for (int j = 0; j < kColumnsOfMma; ++j) {
      if constexpr (kScaledWords)
        column_scales[j][0] = weight.chunk_scale(column_of(8 * j + g), slice, shape.k);
      if constexpr (kIsInt4)
        zeros[j] = weight.chunk_zero(column_of(8 * j + g), slice, shape.k);
      if (kPerGroup && ends) {
        column_scales[j][0] = weight.chunk_scale(column_of(8 * j + 2 * t), slice, shape.k);
        column_scales[j][1] = weight.chunk_scale(column_of(8 * j + 2 * t + 1), slice, shape.k);
      }
    }
    cp_async_wait<Tile::kStages - 2>();
    __syncthreads();
    fetch(slice + Tile::kStages - 1);
    const shared<unsigned char> stage = memory + (slice - begin) % Tile::kStages * Tile::kStageBytes;
    uint32_t a[kRowsOfMma][2][kWords];
#pragma unroll
    for (int i = 0; i < kRowsOfMma; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        load_eight<Tile::kBytes>(stage, warp_row + 16 * i + g + 8 * half, t, a[i][half]);
    // Columns in turn, so that few words of b live at a time; of f32, whose rows take the
    // more registers, steps in turn.
    constexpr int kSteps = kWords / 2;
    typename NarrowWords<T, Weight>::Bits bits[kColumnsOfMma];
#pragma unroll
    for (int n = 0; n < kSteps * kColumnsOfMma; ++n) {
      const int j = sizeof(T) == 4 ? n % kColumnsOfMma : n / kSteps;
      const int step = sizeof(T) == 4 ? n / kColumnsOfMma : n % kSteps;
      if (step == 0)
        load_narrow(stage + Tile::kM * Tile::kBytes, warp_column + 8 * j + g, t, bits[j]);
      const Words words(column_scales[j][0], zeros[j]);
      const uint32_t b[2] = {words(bits[j], 2 * step), words(bits[j], 2 * step + 1)};
#pragma unroll
      for (int i = 0; i < kRowsOfMma; ++i) {
        const uint32_t rows[4] = {a[i][0][2 * step], a[i][1][2 * step], a[i][0][2 * step + 1], a[i][1][2 * step + 1]};
        if constexpr (kPerGroup)
          NarrowProduct<Mma>::multiply(parts[i][j], rows, b);
        else
          NarrowProduct<Mma>::multiply(sums[i][j], rows, b);
      }
    }
    if constexpr (kPerGroup) {
      if (ends) {
        float row_scales[kRowsOfMma][2];
#pragma unroll
        for (int i = 0; i < kRowsOfMma; ++i)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            row_scales[i][half] =
                sizeof(T) > 1 ? 1.0f
                              : global<const float>(scales.data)[row_of(16 * i + g + 8 * half) * scales.per_row +
                                                                 (scales.per_row > 1 ? slice / kGroupSlices : 0)];
#pragma unroll
        for (int i = 0; i < kRowsOfMma; ++i)
#pragma unroll
          for (int j = 0; j < kColumnsOfMma; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              const float scale =
                  sizeof(T) > 1 ? column_scales[j][e % 2] : row_scales[i][e / 2] * column_scales[j][e % 2];
              sums[i][j][e] = fmaf((float)parts[i][j][e], scale, sums[i][j][e]);
              parts[i][j][e] = 0;
            }
      }
    }
  }
  cp_async_wait<0>();
  __syncthreads();
  if constexpr (!kIsInt4) {
#pragma unroll
    for (int j = 0; j < kColumnsOfMma; ++j) {
      const float scale[2] = {weight.row_scale(column_of(8 * j + 2 * t)),
                              weight.row_scale(column_of(8 * j + 2 * t + 1))};
#pragma unroll
      for (int i = 0; i < kRowsOfMma; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          sums[i][j][e] *= scale[e % 2];
    }
  }
  if constexpr (Splits)
    if (!combine_splits<Tile>(memory, sums, tile, part, split))
      return;
  store_tile<Tile>(memory, sums, first_row + warp_row, first_column + warp_column, shape, epilogue);
}

} // namespace llmopt
