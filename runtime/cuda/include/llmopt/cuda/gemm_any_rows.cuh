// y = epilogue(x W) where the number of rows is known at run time only: few rows read W
// once and need no tensor cores (gemv.cuh), more are tiles (mma_gemm.cuh). Both read the
// same packed weight. Blocks are of Tile::kThreads threads; how many there are follows
// from the rows: AnyRows::kColumns columns each for up to kFewRows<T> of them, else tiles.
#pragma once

#include "llmopt/cuda/gemv.cuh"
#include "llmopt/cuda/grid.cuh"
#include "llmopt/cuda/mma_gemm.cuh"

namespace llmopt {

/// How many rows are few; more of f32 do not fit registers beside the tile.
template <typename T> inline constexpr int kFewRows = sizeof(T) == 4 ? 4 : 8;
template <> inline constexpr int kFewRows<e4m3> = 4; // which take 16 floats of a row at a time

/// `KWarps` warps of a block share K, each with `Columns` columns.
template <int Columns, int KWarps> struct AnyRows {
  static constexpr int kPerWarp = Columns, kSharing = KWarps;
  static constexpr int kColumns = Columns * (kGemvThreads / 32) / KWarps; // of a block
};

/// Asks for the first weights that a block of gemm_any_rows reads where rows are few: before
/// grid_dependency_wait, since they are constant.
template <typename Few, typename T>
__device__ __forceinline__ void prefetch_few_rows(const T *w, int64_t rows, int64_t n, int64_t k) {
  constexpr int64_t kPad = 16 / (int)sizeof(T);
  const int64_t row_bytes = (k + kPad - 1) / kPad * 16;
  if (rows <= kFewRows<T>)
    prefetch_constants(w, (int64_t)blockIdx.x * Few::kColumns * row_bytes, Few::kColumns * row_bytes, n * row_bytes);
}

/// XAlign, Splits and split as of mma_gemm: few rows are not split.
template <typename Mma, typename Tile, typename Few, int XAlign, bool Splits = false, typename Epilogue>
__device__ __forceinline__ void gemm_any_rows(const typename Mma::Input *x, const typename Mma::Input *w,
                                              GemmShape shape, Epilogue epilogue,
                                              GemmSplit split = {1, nullptr, nullptr}) {
  static_assert(Tile::kThreads == kGemvThreads, "one block size for both");
  using T = typename Mma::Input;
  constexpr bool kAligned = XAlign == 16;
  const FloatWeight<T> weight{w};
  if (shape.rows == 1)
    gemv<1, Few::kPerWarp, Few::kSharing, kAligned>(x, weight, shape, epilogue);
  else if (shape.rows <= 4)
    gemv<4, Few::kPerWarp, Few::kSharing, kAligned>(x, weight, shape, epilogue);
  else if (kFewRows<T> > 4 && shape.rows <= kFewRows<T>)
    gemv<kFewRows<T>, Few::kPerWarp, Few::kSharing, kAligned>(x, weight, shape, epilogue);
  else
    mma_gemm<Mma, Tile, XAlign, Splits>(x, w, shape, epilogue, split);
}

} // namespace llmopt
