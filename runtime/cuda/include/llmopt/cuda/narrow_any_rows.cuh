// gemm_any_rows for weights of fewer bits than x, and for int8 by int8: few rows read W once
// (gemv.cuh, gemv_integer.cuh), more are tiles (mma_gemm_narrow.cuh, mma_gemm.cuh).
#pragma once

#include "llmopt/cuda/gemm_any_rows.cuh"
#include "llmopt/cuda/gemv_integer.cuh"
#include "llmopt/cuda/mma_gemm_narrow.cuh"

namespace llmopt {

/// XAlign and `scales` as of mma_gemm_narrow.
template <typename Mma, typename Tile, typename Few, int XAlign, typename Weight, typename Epilogue>
__device__ __forceinline__ void narrow_any_rows(const typename Mma::Input *x, Weight weight, GemmShape shape,
                                                Epilogue epilogue, GroupScales scales = {nullptr, 0}) {
  static_assert(Tile::kThreads == kGemvThreads, "one block size for both");
  using T = typename Mma::Input;
  constexpr bool kAligned = XAlign == 16;
  constexpr int kColumns = Few::kPerWarp, kSharing = Few::kSharing, kMost = kFewRows<T>;
  if constexpr (sizeof(T) == 1) {
    if (shape.rows == 1)
      gemv_integer<1, kColumns, kSharing, kAligned>(x, weight, shape, epilogue, scales);
    else if (shape.rows <= 4)
      gemv_integer<4, kColumns, kSharing, kAligned>(x, weight, shape, epilogue, scales);
    else if (shape.rows <= kMost)
      gemv_integer<kMost, kColumns, kSharing, kAligned>(x, weight, shape, epilogue, scales);
    else
      mma_gemm_narrow<Mma, Tile, XAlign>(x, weight, shape, epilogue, scales);
  } else {
    if (shape.rows == 1)
      gemv<1, kColumns, kSharing, kAligned>(x, weight, shape, epilogue);
    else if (shape.rows <= 4)
      gemv<4, kColumns, kSharing, kAligned>(x, weight, shape, epilogue);
    else if (kMost > 4 && shape.rows <= kMost)
      gemv<kMost, kColumns, kSharing, kAligned>(x, weight, shape, epilogue);
    else
      mma_gemm_narrow<Mma, Tile, XAlign>(x, weight, shape, epilogue);
  }
}

/// The same of int8 rows and weights; sums are exact int32.
template <typename Tile, typename Few, int XAlign, typename Epilogue>
__device__ __forceinline__ void s8_any_rows(const int8_t *x, const int8_t *w, GemmShape shape, Epilogue epilogue) {
  static_assert(Tile::kThreads == kGemvThreads, "one block size for both");
  constexpr bool kAligned = XAlign == 16;
  constexpr int kColumns = Few::kPerWarp, kSharing = Few::kSharing, kMost = kFewRows<int8_t>;
  const Int8Weight weight{w, nullptr};
  if (shape.rows == 1)
    gemv_integer<1, kColumns, kSharing, kAligned>(x, weight, shape, epilogue, {nullptr, 0});
  else if (shape.rows <= 4)
    gemv_integer<4, kColumns, kSharing, kAligned>(x, weight, shape, epilogue, {nullptr, 0});
  else if (shape.rows <= kMost)
    gemv_integer<kMost, kColumns, kSharing, kAligned>(x, weight, shape, epilogue, {nullptr, 0});
  else
    mma_gemm<MmaS8, Tile, XAlign>(x, w, shape, epilogue);
}

} // namespace llmopt
