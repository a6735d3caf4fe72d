// y = epilogue(x W) on tensor cores (sm_80): x [M, K] rows, y [M, N].
//
// W is packed as its transpose: [N][K'], row n holds W[0..K, n], K' is K rounded up to
// 16 bytes and filled with zeros. So both operands are read along K ("TN"), and a packed
// weight is a transpose and a pad of the last dimension, nothing else.
//
// One block computes a tile of BM x BN. Slices of KBytes bytes along K go through a ring
// of Stages buffers in shared memory by cp.async, one barrier per slice; rows of a slice
// are swizzled (chunk ^ row) so that ldmatrix meets no bank twice. Sums are f32 or exact
// int32; along K they are added in order, so bits depend on the tile and on `splits`, not
// on the launch. A tail of M, N or K reads zeros.
#pragma once

#include "llmopt/cuda/copy.cuh"
#include "llmopt/cuda/epilogue.cuh"
#include "llmopt/cuda/mma_elements.cuh"

namespace llmopt {

/// A tile of BM x BN of the result by warps of WM x WN each.
template <int BM, int BN, int KBytes, int WM, int WN, int Stages> struct GemmTile {
  static constexpr int kM = BM, kN = BN, kBytes = KBytes, kWarpM = WM, kWarpN = WN, kStages = Stages;
  static constexpr int kWarps = (BM / WM) * (BN / WN), kThreads = 32 * kWarps;
  static constexpr int kStageBytes = (BM + BN) * KBytes;
  static constexpr int kPitch = WN + 4; // of the floats that a warp turns into rows of y
  static constexpr int kResultBytes = kWarps * 16 * kPitch * 4;
  static constexpr int kRingBytes = Stages * kStageBytes;
  static constexpr int kSharedBytes = kRingBytes > kResultBytes ? kRingBytes : kResultBytes;
  static_assert(KBytes == 64 || KBytes == 128, "rows of four or eight chunks");
  static_assert(WM % 16 == 0 && WN % 16 == 0 && BM % WM == 0 && BN % WN == 0, "whole fragments");
  static_assert((BM * KBytes / 16) % kThreads == 0 && (BN * KBytes / 16) % kThreads == 0, "whole chunks per thread");
};
using GemmTile128x128 = GemmTile<128, 128, 64, 64, 32, 4>;      // 256 threads, 64 KB
using GemmTile128x128Deep = GemmTile<128, 128, 128, 64, 32, 3>; // 256 threads, 96 KB
using GemmTile128x64 = GemmTile<128, 64, 64, 32, 32, 4>;        // 256 threads, 48 KB
using GemmTile64x64 = GemmTile<64, 64, 64, 32, 32, 4>;          // 128 threads, 32 KB
using GemmTile64x32 = GemmTile<64, 32, 128, 32, 16, 4>;         // 128 threads, 48 KB

/// Where a block of K cut into parts leaves its sums: `partials` has room for
/// tiles * splits * BM * BN words, `counters` one word per tile, zero before the first
/// launch and after every one.
struct GemmSplit {
  int64_t splits;
  uint32_t *partials;
  uint32_t *counters;
};

/// Chunks of a slice lie at row * KBytes + 16 * (chunk ^ swizzle(row)); rows of 32 bytes need none.
template <int KBytes> __device__ __forceinline__ int swizzle(int row) {
  return KBytes == 128 ? row & 7 : KBytes == 64 ? row >> 1 & 3 : 0;
}

/// The chunks of one operand that one thread brings into every slice.
template <typename T, int Rows, int KBytes, int Threads, int Align> struct SliceLoader {
  static constexpr int kChunks = KBytes / 16;
  static constexpr int kCount = Rows * kChunks / Threads;
  static constexpr int kRowStep = Threads / kChunks;
  const T *base;
  int64_t stride;
  int rows; // of this tile that exist
  int row, chunk;

  __device__ __forceinline__ SliceLoader(const T *p, int64_t stride, int64_t rows)
      : base(p), stride(stride), rows(rows < Rows ? (int)rows : Rows), row((int)threadIdx.x / kChunks),
        chunk((int)threadIdx.x % kChunks) {}

  /// Brings [.., k0 + KBytes) of all rows; `k_end` is where rows end.
  __device__ __forceinline__ void operator()(shared<unsigned char> to, int64_t k0, int64_t k_end) const {
    const int64_t k = k0 + chunk * (16 / (int)sizeof(T));
    const int64_t left = (k_end - k) * (int)sizeof(T);
    const int bytes = left < 0 ? 0 : left > 16 ? 16 : (int)left;
    const global<const T> whole(base);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int r = row + i * kRowStep;
      const bool inside = r < rows && bytes > 0;
      copy_chunk<Align, T>(to + (r * KBytes + 16 * (chunk ^ swizzle<KBytes>(r))), whole + (inside ? r * stride + k : 0),
                           inside ? bytes : 0);
    }
  }
};

/// The tile of a block: groups of eight rows of tiles go column by column, so that what
/// runs at a time shares W and x in L2.
__device__ __forceinline__ void pick_tile(int64_t index, int64_t row_tiles, int64_t column_tiles, int64_t &row,
                                          int64_t &column) {
  constexpr int64_t kGroup = 8;
  const int64_t group = index / (kGroup * column_tiles), first = group * kGroup;
  const int64_t height = row_tiles - first < kGroup ? row_tiles - first : kGroup;
  const int64_t rest = index - first * column_tiles;
  row = first + rest % height;
  column = rest / height;
}

/// Adds the product of one slice to the sums of a warp.
template <typename Mma, typename Tile>
__device__ __forceinline__ void multiply_slice(uint32_t a_slice, uint32_t b_slice, int warp_row, int warp_column,
                                               typename Mma::Sum (&sums)[Tile::kWarpM / 16][Tile::kWarpN / 8][4]) {
  const int lane = threadIdx.x % 32, matrix = lane / 8;
#pragma unroll
  for (int step = 0; step < Tile::kBytes / 32; ++step) {
    uint32_t a[Tile::kWarpM / 16][4], b[Tile::kWarpN / 8][2];
#pragma unroll
    for (int i = 0; i < Tile::kWarpM / 16; ++i) {
      const int row = warp_row + 16 * i + lane % 8 + matrix % 2 * 8, chunk = 2 * step + matrix / 2;
      ldmatrix(a[i], a_slice + row * Tile::kBytes + 16 * (chunk ^ swizzle<Tile::kBytes>(row)));
    }
#pragma unroll
    for (int j = 0; j < Tile::kWarpN / 16; ++j) {
      const int row = warp_column + 16 * j + lane % 8 + matrix / 2 * 8, chunk = 2 * step + matrix % 2;
      uint32_t both[4];
      ldmatrix(both, b_slice + row * Tile::kBytes + 16 * (chunk ^ swizzle<Tile::kBytes>(row)));
      b[2 * j][0] = both[0], b[2 * j][1] = both[1], b[2 * j + 1][0] = both[2], b[2 * j + 1][1] = both[3];
    }
#pragma unroll
    for (int i = 0; i < Tile::kWarpM / 16; ++i)
#pragma unroll
      for (int j = 0; j < Tile::kWarpN / 8; ++j)
        Mma::multiply(sums[i][j], a[i], b[j]);
  }
}

/// Turns the fragments of a warp into runs along rows and gives them to `epilogue`.
template <typename Tile, typename Sum, typename Epilogue>
__device__ __forceinline__ void store_tile(shared<unsigned char> memory,
                                           Sum (&sums)[Tile::kWarpM / 16][Tile::kWarpN / 8][4], int64_t first_row,
                                           int64_t first_column, const GemmShape &shape, const Epilogue &epilogue) {
  constexpr int kCount = kRun<typename Epilogue::Output>, kRuns = Tile::kWarpN / kCount;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const shared<Sum> rows = shared_cast<Sum>(memory) + warp * 16 * Tile::kPitch;
  const bool aligned = shape.n % kCount == 0;
#pragma unroll
  for (int i = 0; i < Tile::kWarpM / 16; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kWarpN / 8; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int at = (lane / 4 + 8 * half) * Tile::kPitch + 8 * j + lane % 4 * 2;
        rows[at] = sums[i][j][2 * half];
        rows[at + 1] = sums[i][j][2 * half + 1];
      }
    __syncwarp();
    for (int item = lane; item < 16 * kRuns; item += 32) {
      const int64_t row = first_row + 16 * i + item / kRuns, column = first_column + item % kRuns * kCount;
      Sum run[kCount];
#pragma unroll
      for (int e = 0; e < kCount; ++e)
        run[e] = rows[item / kRuns * Tile::kPitch + item % kRuns * kCount + e];
      const int64_t left = shape.n - column;
      if (row < shape.rows && left > 0)
        epilogue(run, row, column, shape.n, left < kCount ? (int)left : kCount, aligned);
    }
    __syncwarp();
  }
}

/// Leaves the sums of this part of K in memory. The last block of a tile to come adds
/// those of all parts, in their order, and gets true.
template <typename Tile, typename Sum>
__device__ __forceinline__ bool combine_splits(shared<unsigned char> memory,
                                               Sum (&sums)[Tile::kWarpM / 16][Tile::kWarpN / 8][4], int64_t tile,
                                               int64_t split, const GemmSplit &where) {
  constexpr int kWords = Tile::kM * Tile::kN, kQuads = Tile::kWarpM / 16 * (Tile::kWarpN / 8);
  const global<uint32_t> partials(where.partials);
  const int64_t mine = (tile * where.splits + split) * kWords;
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    const Sum(&c)[4] = sums[i / (Tile::kWarpN / 8)][i % (Tile::kWarpN / 8)];
    uint4 bits;
    if constexpr (kIsSum<Sum>)
      bits = make_uint4((uint32_t)c[0], (uint32_t)c[1], (uint32_t)c[2], (uint32_t)c[3]);
    else
      bits = make_uint4(__float_as_uint(c[0]), __float_as_uint(c[1]), __float_as_uint(c[2]), __float_as_uint(c[3]));
    store(partials, mine + (i * Tile::kThreads + (int)threadIdx.x) * 4, bits);
  }
  __threadfence();
  __syncthreads();
  const shared<uint32_t> ticket = shared_cast<uint32_t>(memory);
  if (threadIdx.x == 0)
    ticket[0] = atomicAdd(where.counters + tile, 1u);
  __syncthreads();
  const bool last = ticket[0] == (uint32_t)where.splits - 1;
  if (!last)
    return false;
  __threadfence();
  if (threadIdx.x == 0)
    where.counters[tile] = 0;
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    Sum(&c)[4] = sums[i / (Tile::kWarpN / 8)][i % (Tile::kWarpN / 8)];
    c[0] = c[1] = c[2] = c[3] = 0;
    for (int64_t s = 0; s < where.splits; ++s) {
      const int64_t from = (tile * where.splits + s) * kWords;
      const uint4 bits = load<uint4>(partials, from + (i * Tile::kThreads + (int)threadIdx.x) * 4);
      if constexpr (kIsSum<Sum>) {
        c[0] += (int)bits.x, c[1] += (int)bits.y, c[2] += (int)bits.z, c[3] += (int)bits.w;
      } else {
        c[0] += __uint_as_float(bits.x), c[1] += __uint_as_float(bits.y);
        c[2] += __uint_as_float(bits.z), c[3] += __uint_as_float(bits.w);
      }
    }
  }
  __syncthreads(); // the ticket, before its memory is used again
  return true;
}

/// One tile; launch ceil(M / BM) * ceil(N / BN) * splits blocks of Tile::kThreads threads
/// with Tile::kSharedBytes of dynamic shared memory. `XAlign`: bytes that the first
/// element of every row of x is aligned to (16, 8, 4, or the size of an element).
template <typename Mma, typename Tile, int XAlign, bool Splits = false, typename Epilogue>
__device__ __forceinline__ void mma_gemm(const typename Mma::Input *x, const typename Mma::Input *w, GemmShape shape,
                                         Epilogue epilogue, GemmSplit split = {1, nullptr, nullptr}) {
  using T = typename Mma::Input;
  constexpr int kSlice = Tile::kBytes / (int)sizeof(T), kPad = 16 / (int)sizeof(T);
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
  const int64_t w_stride = (shape.k + kPad - 1) / kPad * kPad;

  const SliceLoader<T, Tile::kM, Tile::kBytes, Tile::kThreads, XAlign> load_x(
      x + shape.row_offset + first_row * shape.row_stride, shape.row_stride, shape.rows - first_row);
  const SliceLoader<T, Tile::kN, Tile::kBytes, Tile::kThreads, 16> load_w(w + first_column * w_stride, w_stride,
                                                                          shape.n - first_column);
  // This part of K, in slices.
  const int all = (int)((shape.k + kSlice - 1) / kSlice);
  const int begin = Splits ? (int)(all * part / split.splits) : 0;
  const int end = Splits ? (int)(all * (part + 1) / split.splits) : all;
  auto fetch = [&](int slice) {
    if (slice < end) {
      const shared<unsigned char> to = memory + (slice - begin) % Tile::kStages * Tile::kStageBytes;
      load_x(to, (int64_t)slice * kSlice, shape.k);
      load_w(to + Tile::kM * Tile::kBytes, (int64_t)slice * kSlice, w_stride);
    }
    cp_async_commit();
  };

  const int warp = threadIdx.x / 32, warps_n = Tile::kN / Tile::kWarpN;
  const int warp_row = warp / warps_n * Tile::kWarpM, warp_column = warp % warps_n * Tile::kWarpN;
  typename Mma::Sum sums[Tile::kWarpM / 16][Tile::kWarpN / 8][4] = {};
#pragma unroll
  for (int i = 0; i < Tile::kStages - 1; ++i)
    fetch(begin + i);
  for (int slice = begin; slice < end; ++slice) {
    cp_async_wait<Tile::kStages - 2>();
    __syncthreads(); // the slice is there, and all warps are done with the one before
    fetch(slice + Tile::kStages - 1);
    const uint32_t at = smem_address(memory + (slice - begin) % Tile::kStages * Tile::kStageBytes);
    multiply_slice<Mma, Tile>(at, at + Tile::kM * Tile::kBytes, warp_row, warp_column, sums);
  }
  cp_async_wait<0>();
  __syncthreads(); // the ring, before it holds results
  if constexpr (Splits)
    if (split.splits > 1 && !combine_splits<Tile>(memory, sums, tile, part, split))
      return;
  store_tile<Tile>(memory, sums, first_row + warp_row, first_column + warp_column, shape, epilogue);
}

} // namespace llmopt
