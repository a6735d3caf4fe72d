// y = epilogue(x W) on Hopper (sm_90a), W packed as for mma_gemm (its transpose, rows padded
// to 16 bytes). Off until validated on a GPU: see validated.h.
//
// Blocks stay and take tile after tile of 128 x 128. One thread of the last warpgroup asks
// TMA for slices of 128 bytes along K, as far ahead as the ring of Stages has room; the two
// others multiply, 64 rows each, and hand a slice back when the products that read it are
// done. `full` and `empty` are mbarriers per slice; the parity of a wait is that of the round
// of the ring.
#pragma once

#include "llmopt/cuda/mma_gemm.cuh"
#include "llmopt/cuda/wgmma.cuh"

namespace llmopt {

template <int Stages> struct WgmmaTile {
  static constexpr int kM = 128, kN = 128, kBytes = 128, kStages = Stages;
  static constexpr int kWarpM = 16, kWarpN = 128; // rows of a warp in the accumulators of wgmma
  static constexpr int kConsumers = 256, kThreads = kConsumers + 128;
  static constexpr int kPitch = kWarpN + 4;
  static constexpr int kStageBytes = (kM + kN) * kBytes;
  static constexpr int kRingBytes = Stages * kStageBytes, kResultBytes = 8 * 16 * kPitch * 4;
  static constexpr int kSharedBytes = kRingBytes + kResultBytes + 2 * Stages * 8;
};
using WgmmaTile4 = WgmmaTile<4>; // 195 KB

/// Launch any number of blocks (as many as multiprocessors) of Tile::kThreads threads with
/// Tile::kSharedBytes of dynamic shared memory; `blocks` is that number. The maps are of x
/// [rows, k] and packed W [n, k'], boxes of 128 rows.
template <typename Wgmma, typename Tile, typename Epilogue>
__device__ __forceinline__ void wgmma_gemm(const TensorMap *x, const TensorMap *w, GemmShape shape, int64_t blocks,
                                           Epilogue epilogue) {
  constexpr int kSlice = Tile::kBytes / (int)sizeof(typename Wgmma::Input);
  LLMOPT_DYNAMIC_SHARED(memory);
  const shared<unsigned char> results = memory + Tile::kRingBytes;
  const uint32_t ring = smem_address(memory + 0), full = smem_address(results + Tile::kResultBytes);
  const uint32_t empty = full + 8 * Tile::kStages;
  if (threadIdx.x == 0) {
    for (int i = 0; i < Tile::kStages; ++i) {
      mbarrier_init(full + 8 * i, 1);
      mbarrier_init(empty + 8 * i, Tile::kConsumers / 32);
    }
    fence_mbarrier_init();
  }
  __syncthreads();
  const int64_t row_tiles = (shape.rows + Tile::kM - 1) / Tile::kM, column_tiles = (shape.n + Tile::kN - 1) / Tile::kN;
  const int slices = (int)((shape.k + kSlice - 1) / kSlice);
  int stage = 0;
  uint32_t round = 0;
  auto advance = [&] {
    if (++stage == Tile::kStages) {
      stage = 0;
      round ^= 1;
    }
  };

  if (threadIdx.x >= Tile::kConsumers) {
    give_registers<40>();
    if (threadIdx.x != Tile::kConsumers)
      return;
    for (int64_t tile = blockIdx.x; tile < row_tiles * column_tiles; tile += blocks) {
      int64_t row_tile, column_tile;
      pick_tile(tile, row_tiles, column_tiles, row_tile, column_tile);
      for (int slice = 0; slice < slices; ++slice, advance()) {
        mbarrier_wait(empty + 8 * stage, round ^ 1); // the first round finds it empty
        mbarrier_arrive_expect(full + 8 * stage, Tile::kStageBytes);
        const uint32_t to = ring + stage * Tile::kStageBytes;
        tma_load(to, x, full + 8 * stage, slice * kSlice, (int)(row_tile * Tile::kM));
        tma_load(to + Tile::kM * Tile::kBytes, w, full + 8 * stage, slice * kSlice, (int)(column_tile * Tile::kN));
      }
    }
    return;
  }

  take_registers<232>();
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32;
  for (int64_t tile = blockIdx.x; tile < row_tiles * column_tiles; tile += blocks) {
    int64_t row_tile, column_tile;
    pick_tile(tile, row_tiles, column_tiles, row_tile, column_tile);
    typename Wgmma::Sum sums[1][16][4];
#pragma unroll
    for (int j = 0; j < 16; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        sums[0][j][e] = 0;
    int before = -1; // the stage that products may still read
    for (int slice = 0; slice < slices; ++slice, advance()) {
      mbarrier_wait(full + 8 * stage, round);
      const uint32_t a = ring + stage * Tile::kStageBytes + group * 64 * Tile::kBytes;
      const uint32_t b = ring + stage * Tile::kStageBytes + Tile::kM * Tile::kBytes;
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < Tile::kBytes / 32; ++step)
        Wgmma::multiply(sums[0], wgmma_descriptor(a + 32 * step), wgmma_descriptor(b + 32 * step), true);
      wgmma_commit();
      wgmma_wait<1>(); // all but the products of this slice are done
      if (before >= 0 && threadIdx.x % 32 == 0)
        mbarrier_arrive(empty + 8 * before);
      before = stage;
    }
    wgmma_wait<0>();
    if (before >= 0 && threadIdx.x % 32 == 0)
      mbarrier_arrive(empty + 8 * before);
    store_tile<Tile>(results, sums, row_tile * Tile::kM + warp * 16, column_tile * Tile::kN, shape, epilogue);
  }
}

} // namespace llmopt
