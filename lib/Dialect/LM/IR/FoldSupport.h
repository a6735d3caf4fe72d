// What the folds of all families share; private to lib/Dialect/LM/IR.
//
// A fold never reports an error: an operation that cannot be evaluated (an index
// out of range, say) stays, and whoever runs it reports.
#ifndef LLMOPT_LIB_DIALECT_LM_IR_FOLDSUPPORT_H
#define LLMOPT_LIB_DIALECT_LM_IR_FOLDSUPPORT_H

#include "llmopt/Dialect/LM/IR/LM.h"

namespace llmopt::lm {

/// The value of `op` by the evaluator where every operand is an elements
/// attribute, its types are static and the result takes at most 64 KB; else null.
mlir::Attribute foldConstant(mlir::Operation *op, llvm::ArrayRef<mlir::Attribute> operands);

/// Applies `element` to the broadcast elements of integer operands that are
/// constants or #lm.sym. Null where an operand is neither, the result has no
/// static shape, or `element` gives nothing.
mlir::Attribute foldSymbolic(mlir::Operation *op, llvm::ArrayRef<mlir::Attribute> operands,
                             llvm::function_ref<std::optional<SymExpr>(llvm::ArrayRef<SymExpr>)> element);

/// Folds an operation that only moves the elements of its first `numData`
/// operands, some of which are #lm.sym; the others are constants.
mlir::Attribute foldSymbolicMovement(mlir::Operation *op, llvm::ArrayRef<mlir::Attribute> operands, unsigned numData);

/// Whether all elements are one number: integers equal to `value`, floats
/// identical to it (so that 0 and -0 differ).
bool isSplatOf(mlir::Attribute attr, double value);

} // namespace llmopt::lm

#endif
