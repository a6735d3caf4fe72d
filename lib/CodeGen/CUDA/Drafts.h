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
/// "float", "llmopt::f16" or "llmopt::bf16"
std::string typeText(mlir::Type element);

/// Products (DraftProducts.cpp).
mlir::LogicalResult draftGemm(kernel::GemmOp gemm, Draft &draft);
mlir::LogicalResult draftGemmS8(kernel::GemmS8Op gemm, Draft &draft);
mlir::LogicalResult draftMatmul(kernel::BatchedMatmulOp matmul, Draft &draft);

} // namespace llmopt::cuda

#endif
