// What drafts of products share: few rows, epilogues.
#ifndef LLMOPT_LIB_CODEGEN_CUDA_PRODUCTS_H
#define LLMOPT_LIB_CODEGEN_CUDA_PRODUCTS_H

#include "Drafts.h"

namespace llmopt::cuda {

constexpr int64_t kFewThreads = 128; // kGemvThreads

/// The tiles of mma_gemm.cuh; the generated text asserts threads and bytes.
struct Tile {
  const char *name;
  int64_t m, n, threads, sharedBytes, sliceBytes;
};
/// The largest tile that still gives every multiprocessor a block; 64 x 64 where the
/// number of rows is known at run time only. `wide`: not the largest of all.
const Tile &chooseTile(const lm::SymExpr &rows, int64_t n, bool wide);

/// AnyRows of gemm_any_rows.cuh: wide products give every warp its columns, narrow ones
/// share K between the warps so that there are enough blocks.
struct FewRows {
  int64_t perWarp, sharing;
  int64_t columns() const { return perWarp * 4 / sharing; }
};
FewRows chooseFewRows(int64_t n);
/// kFewRows of an element type of `size` bytes.
constexpr int64_t getFewRows(int64_t size) { return size == 4 ? 4 : 8; }

/// "llmopt::GemmEpilogue<..>;\n  const Epilogue epilogue{y, bias, ..", without the closing brace.
/// `zero`: x has a zero point.
std::string epilogueText(mlir::Type result, kernel::Activation activation, mlir::Value bias, mlir::Value residual,
                         bool scales, bool zero, const std::string &fields);
/// "const float"
std::string biasType(mlir::Value bias);

} // namespace llmopt::cuda

#endif
