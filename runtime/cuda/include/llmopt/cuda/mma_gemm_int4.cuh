// y = epilogue(x W) on tensor cores for int4 weights in groups (Int4Weight of weights.cuh:
// the bytes of MatMulNBits as they are) and x in f16 or bf16.
//
// Numbers become fragments in registers: lane (g, t) takes the word of row g of W that
// holds k = 8 t .. 8 t + 7 of a slice of 32, and the 16 bytes of x of the same k. Both
// operands so follow the same order along K, which the instruction does not care about,
// and no weight is moved in advance. A word gives two numbers of f16 at a time:
//   1024 + q and 1024 + 16 q'   the bytes beside 0x64, the exponent of 1024
//   q - zero and q' - zero      one exact fma
//   times the scale of the group, rounded to 16 bits
#pragma once

#include "llmopt/cuda/mma_gemm.cuh"
#include "llmopt/cuda/weights.cuh"

namespace llmopt {

template <int BM, int BN, int WM, int WN, int Stages> struct GemmInt4Tile {
  static constexpr int kM = BM, kN = BN, kBytes = 64, kWarpM = WM, kWarpN = WN, kStages = Stages;
  static constexpr int kWarps = (BM / WM) * (BN / WN), kThreads = 32 * kWarps;
  static constexpr int kStageBytes = BM * kBytes + BN * 16;
  static constexpr int kPitch = WN + 4;
  static constexpr int kResultBytes = kWarps * 16 * kPitch * 4;
  static constexpr int kRingBytes = Stages * kStageBytes;
  static constexpr int kSharedBytes = kRingBytes > kResultBytes ? kRingBytes : kResultBytes;
  static_assert(WM % 16 == 0 && WN % 16 == 0 && BM % WM == 0 && BN % WN == 0, "whole fragments");
  static_assert(BM * 4 % kThreads == 0, "whole chunks per thread");
};
using GemmInt4Tile32x128 = GemmInt4Tile<32, 128, 32, 32, 4>;   // 128 threads, 16 KB: few rows
using GemmInt4Tile64x128 = GemmInt4Tile<64, 128, 32, 64, 4>;   // 128 threads, 24 KB
using GemmInt4Tile128x128 = GemmInt4Tile<128, 128, 64, 32, 4>; // 256 threads, 40 KB

/// Numbers 2 i and 2 i + 1 of a word of eight.
template <typename T> struct Int4Pair;

template <> struct Int4Pair<f16> {
  uint32_t scale, zero; // both halves: scale; -(1024 + zero) and -(64 + zero)
  __device__ __forceinline__ Int4Pair(float s, float z)
      : scale(Storage<f16>::pack(s, s)), zero(Storage<f16>::pack(-1024.0f - z, -64.0f - z)) {}
  __device__ __forceinline__ uint32_t operator()(uint32_t word, int i) const {
    const uint32_t q = __byte_perm(word, 0x64646464u, 0x4040u | (uint32_t)(i * 0x101)) & 0x64f0640fu;
    return half2_mul(half2_fma(q, 0x2c003c00u, zero), scale); // times 1 and 1 / 16
  }
};

template <> struct Int4Pair<bf16> {
  float scale, zero;
  __device__ __forceinline__ Int4Pair(float s, float z) : scale(s), zero(8388608.0f + z) {}
  __device__ __forceinline__ uint32_t operator()(uint32_t word, int i) const {
    return Storage<bf16>::pack(small_to_float(word >> 8 * i & 15, zero) * scale,
                               small_to_float(word >> (8 * i + 4) & 15, zero) * scale);
  }
};

/// One tile; launch as mma_gemm. Rows of x are aligned to XAlign bytes.
template <typename Mma, typename Tile, int XAlign, bool Splits = false, typename Weight, typename Epilogue>
__device__ __forceinline__ void mma_gemm_int4(const typename Mma::Input *x, Weight weight, GemmShape shape,
                                              Epilogue epilogue, GemmSplit split = {1, nullptr, nullptr}) {
  using T = typename Mma::Input;
  static_assert(sizeof(T) == 2, "f16 or bf16");
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
  const global<const uint8_t> packed(weight.data);

  const int all = (int)((shape.k + 31) / 32);
  const int begin = Splits ? (int)(all * part / split.splits) : 0;
  const int end = Splits ? (int)(all * (part + 1) / split.splits) : all;
  auto fetch = [&](int slice) {
    if (slice < end) {
      const shared<unsigned char> to = memory + (slice - begin) % Tile::kStages * Tile::kStageBytes;
      load_x(to, (int64_t)slice * 32, shape.k);
      for (int row = threadIdx.x; row < Tile::kN; row += Tile::kThreads) {
        const bool inside = first_column + row < shape.n;
        cp_async<16>(smem_address(to + (Tile::kM * Tile::kBytes + 16 * row)),
                     packed + (inside ? ((first_column + row) * chunks + slice) * 16 : 0), inside ? 16 : 0);
      }
    }
    cp_async_commit();
  };

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps_n = Tile::kN / Tile::kWarpN;
  const int warp_row = warp / warps_n * Tile::kWarpM, warp_column = warp % warps_n * Tile::kWarpN;
  typename Mma::Sum sums[Tile::kWarpM / 16][Tile::kWarpN / 8][4] = {};
#pragma unroll
  for (int i = 0; i < Tile::kStages - 1; ++i)
    fetch(begin + i);
  for (int slice = begin; slice < end; ++slice) {
    float scales[Tile::kWarpN / 8], zeros[Tile::kWarpN / 8]; // on their way while the slice is
#pragma unroll
    for (int j = 0; j < Tile::kWarpN / 8; ++j) {
      const int64_t column = first_column + warp_column + 8 * j + lane / 4;
      const int64_t row = column < shape.n ? column : shape.n - 1; // one that exists
      scales[j] = weight.chunk_scale(row, slice, shape.k);
      zeros[j] = weight.chunk_zero(row, slice, shape.k);
    }
    cp_async_wait<Tile::kStages - 2>();
    __syncthreads();
    fetch(slice + Tile::kStages - 1);
    const shared<unsigned char> stage = memory + (slice - begin) % Tile::kStages * Tile::kStageBytes;
    uint4 a[Tile::kWarpM / 16][2];
#pragma unroll
    for (int i = 0; i < Tile::kWarpM / 16; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = warp_row + 16 * i + lane / 4 + 8 * half;
        a[i][half] = load<uint4>(stage, row * Tile::kBytes + 16 * (lane % 4 ^ swizzle<Tile::kBytes>(row)));
      }
#pragma unroll
    for (int j = 0; j < Tile::kWarpN / 8; ++j) {
      const int row = warp_column + 8 * j + lane / 4;
      const uint32_t word = load<uint32_t>(stage, Tile::kM * Tile::kBytes + 16 * row + 4 * (lane % 4));
      const Int4Pair<T> pair(scales[j], zeros[j]);
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        const uint32_t b[2] = {pair(word, 2 * step), pair(word, 2 * step + 1)};
#pragma unroll
        for (int i = 0; i < Tile::kWarpM / 16; ++i) {
          const uint4 &top = a[i][0], &bottom = a[i][1];
          if (step == 0)
            Mma::multiply(sums[i][j], {top.x, bottom.x, top.y, bottom.y}, b);
          else
            Mma::multiply(sums[i][j], {top.z, bottom.z, top.w, bottom.w}, b);
        }
      }
    }
  }
  cp_async_wait<0>();
  __syncthreads();
  if constexpr (Splits)
    if (!combine_splits<Tile>(memory, sums, tile, part, split))
      return;
  store_tile<Tile>(memory, sums, first_row + warp_row, first_column + warp_column, shape, epilogue);
}

} // namespace llmopt
