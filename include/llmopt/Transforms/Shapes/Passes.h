// Passes over shapes, and the functions behind them.
#ifndef LLMOPT_TRANSFORMS_SHAPES_PASSES_H
#define LLMOPT_TRANSFORMS_SHAPES_PASSES_H

#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace llmopt {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "llmopt/Transforms/Shapes/Passes.h.inc"

/// Refines the result types of a function's operations, in order, by what their
/// operands say, and then the function's own type. Reports an operation whose
/// operands no longer fit, or whose static dimensions contradict them.
mlir::LogicalResult refineShapes(mlir::func::FuncOp function);

/// Replaces symbols in every type, #lm.sym and constraint of the function. Reports a
/// constraint of the function that then cannot hold. Types of operations are not
/// inferred again.
mlir::LogicalResult substituteSymbols(mlir::func::FuncOp function, const llvm::StringMap<lm::SymExpr> &symbols);

/// Fixes the shape of the input that `lm.name` calls `name` (or its number, for
/// inputs without names): symbols that are dimensions of it become constants in
/// every type, #lm.sym and `lm.constraints` of the function. Types of operations
/// are not inferred again (refineShapes does that). Reports an unknown name, a
/// wrong rank, and dimensions that contradict the declared ones.
mlir::LogicalResult pinInputShape(mlir::func::FuncOp function, llvm::StringRef name, llvm::ArrayRef<int64_t> dims);

} // namespace llmopt

#endif
