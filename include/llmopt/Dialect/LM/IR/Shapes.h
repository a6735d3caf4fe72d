// Between tensor types and symbolic dimensions.
#ifndef LLMOPT_DIALECT_LM_IR_SHAPES_H
#define LLMOPT_DIALECT_LM_IR_SHAPES_H

#include "llmopt/Dialect/LM/IR/LM.h"

namespace llmopt::lm {

/// The dimensions of a ranked tensor type (or of a value of one).
llvm::SmallVector<SymExpr> getDims(mlir::Type type);
llvm::SmallVector<SymExpr> getDims(mlir::Value value);
/// The number of elements.
SymExpr getNumElements(mlir::Type type);

/// tensor<dims x elementType>, with #lm.dims where a dimension is not constant.
mlir::RankedTensorType getTensorType(llvm::ArrayRef<SymExpr> dims, mlir::Type elementType);
/// The same dimensions with another element type.
mlir::RankedTensorType withElementType(mlir::Type type, mlir::Type elementType);

/// NumPy broadcast of two shapes; failure where they never fit. Two different
/// symbolic dimensions give their maximum (one of them must be 1 when bound).
mlir::FailureOr<llvm::SmallVector<SymExpr>> broadcastDims(llvm::ArrayRef<SymExpr> a, llvm::ArrayRef<SymExpr> b);

/// The row-major contents of an integer (or boolean) constant, symbolic or
/// dense; nullopt for anything else, and for more than 4096 elements.
std::optional<llvm::SmallVector<SymExpr>> getSymbolicValue(mlir::Attribute attr);
std::optional<llvm::SmallVector<SymExpr>> getSymbolicValue(mlir::Value value);
/// A dense attribute where all are constant, else #lm.sym.
mlir::TypedAttr getSymbolicAttr(mlir::RankedTensorType type, llvm::ArrayRef<SymExpr> values);
/// #lm.sym over tensor<n x i64> always (for slice starts and the like).
SymValuesAttr getSymValues(mlir::MLIRContext *context, llvm::ArrayRef<SymExpr> values);
llvm::SmallVector<SymExpr> getExprs(SymValuesAttr attr);

/// Whether the result types of an operation can be inferred; reports why not.
/// Verifiers that rely on what inference checks call this first: MLIR itself
/// infers after them.
mlir::LogicalResult verifyInference(mlir::Operation *op);

} // namespace llmopt::lm

#endif
