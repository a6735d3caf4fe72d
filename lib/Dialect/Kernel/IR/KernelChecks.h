// What verifiers of the kernel dialect share. Private to this library.
#ifndef LLMOPT_LIB_DIALECT_KERNEL_IR_KERNELCHECKS_H
#define LLMOPT_LIB_DIALECT_KERNEL_IR_KERNELCHECKS_H

#include "llmopt/Dialect/Kernel/IR/Kernel.h"

namespace llmopt::kernel {

/// Whether the operand, where present, is [size].
bool isVector(mlir::Value value, const lm::SymExpr &size);
/// The dimensions but the last are equal, where known, and the last is `last`.
bool haveRowsOf(mlir::Value value, llvm::ArrayRef<lm::SymExpr> dims, const lm::SymExpr &last);
/// A static tensor of one element, of any rank.
bool isOne(mlir::Value value);
/// Whether kernel.pack makes this type of a [k, n] matrix, in whatever width.
bool isPackedMatrix(mlir::RankedTensorType type, int64_t k, int64_t n, Layout layout);

} // namespace llmopt::kernel

#endif
