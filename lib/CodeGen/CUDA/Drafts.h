// What the drafts of all kernels share.
#ifndef LLMOPT_LIB_CODEGEN_CUDA_DRAFTS_H
#define LLMOPT_LIB_CODEGEN_CUDA_DRAFTS_H

#include "StepEmitter.h"

namespace llmopt::cuda {

/// "0.125f"
std::string floatLiteral(double value);
const char *boolText(bool value);
/// All dimensions but the last.
lm::SymExpr rowsOf(mlir::Type type);
/// "llmopt::Activation::gelu_erf"
std::string activationText(kernel::Activation activation);
/// "float", "llmopt::f16" or "llmopt::bf16"; "int8_t" or "llmopt::e4m3" of quantized values
std::string typeText(mlir::Type element);

/// What an asynchronous copy brings at best.
constexpr int64_t kChunkBytes = 16;
/// Bytes, at most 16, that `expr` elements of `size` bytes are a multiple of.
int64_t alignmentOf(const lm::SymExpr &expr, int64_t size);
/// The same of the first element of a value: what the caller gives is aligned to its
/// elements only, memory of the model's own to far more.
int64_t alignmentOf(mlir::Value value, int64_t size);

/// 1 for up to `limit`, else 0.
lm::SymExpr isAtMost(const lm::SymExpr &value, int64_t limit);
/// Blocks that fill a GPU: a H100 has 132 multiprocessors.
constexpr int64_t kEnoughBlocks = 128;
/// In how many parts a sum is cut so that `blocks` of them become enough: at most `most`.
lm::SymExpr chooseSplits(const lm::SymExpr &blocks, const lm::SymExpr &most, int64_t enough);

/// Attention and the cache (DraftAttention.cpp).
mlir::LogicalResult draftAttention(kernel::AttentionOp attention, Draft &draft);
mlir::LogicalResult draftKVAppend(kernel::KVAppendOp append, Draft &draft);
/// Whether there is a kernel on tensor cores for such heads.
constexpr int64_t kMaxFlashDim = 128;
/// Norms, softmax, embeddings and quantization of rows (DraftRows.cpp).
mlir::LogicalResult draftNorm(kernel::NormOp norm, Draft &draft);
mlir::LogicalResult draftNormQuantized(kernel::NormQuantizedOp norm, Draft &draft);
mlir::LogicalResult draftNormQuantizedTensor(kernel::NormQuantizedTensorOp norm, Draft &draft);
mlir::LogicalResult draftQuantizeTensor(kernel::QuantizeTensorOp quantize, Draft &draft);
mlir::LogicalResult draftSoftmax(kernel::SoftmaxOp softmax, Draft &draft);
mlir::LogicalResult draftEmbed(kernel::EmbedOp embed, Draft &draft);
mlir::LogicalResult draftQuantizeRows(kernel::QuantizeRowsOp quantize, Draft &draft);
/// Products (DraftProducts.cpp).
mlir::LogicalResult draftGemm(kernel::GemmOp gemm, Draft &draft);
mlir::LogicalResult draftGemmS8(kernel::GemmS8Op gemm, Draft &draft);
/// Products whose weights stay int4 or int8 (DraftQuantizedProducts.cpp).
mlir::LogicalResult draftGemmW4A8(kernel::GemmW4A8Op gemm, Draft &draft);
mlir::LogicalResult draftGemmF8(kernel::GemmF8Op gemm, Draft &draft);
mlir::LogicalResult draftGemmWQ(kernel::GemmWQOp gemm, Draft &draft);
mlir::LogicalResult draftMatmul(kernel::BatchedMatmulOp matmul, Draft &draft);

} // namespace llmopt::cuda

#endif
