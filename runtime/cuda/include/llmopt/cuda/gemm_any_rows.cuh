// y = epilogue(x W) where the number of rows is known at run time only: few rows read W
// once and need no tensor cores (gemv.cuh), more are tiles (mma_gemm.cuh). Both read the
// same packed weight. Blocks are of Tile::kThreads threads; how many there are follows
// from the rows: AnyRows::kColumns columns each for up to kFewRows<T> of them, else tiles.
#pragma once

#include "llmopt/cuda/gemv.cuh"
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

/// XAlign as of mma_gemm.
template <typename Mma, typename Tile, typename Few, int XAlign, typename Epilogue>
__device__ __forceinline__ void gemm_any_rows(const typename Mma::Input *x, const typename Mma::Input *w,
                                              GemmShape shape, Epilogue epilogue) {
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
    mma_gemm<Mma, Tile, XAlign>(x, w, shape, epilogue);
}

} // namespace llmopt
