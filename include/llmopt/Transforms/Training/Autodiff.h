// Reverse-mode differentiation over L1 and what is left of L0.
//
// Every rule is a vector-Jacobian product written with ordinary lm operations,
// so gradients are planned, fused and compiled like any other code.
#ifndef LLMOPT_TRANSFORMS_TRAINING_AUTODIFF_H
#define LLMOPT_TRANSFORMS_TRAINING_AUTODIFF_H

#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/Builders.h"

namespace llmopt {

/// What a rule works with: where to build, and where gradients go.
class VJPContext {
public:
  VJPContext(mlir::OpBuilder &builder, mlir::Location loc,
             llvm::function_ref<void(mlir::Value operand, mlir::Value gradient)> accumulate,
             llvm::function_ref<bool(mlir::Value)> isActive)
      : builder(builder), loc(loc), accumulateFn(accumulate), isActiveFn(isActive) {}

  mlir::OpBuilder &builder;
  mlir::Location loc;

  /// Whether a gradient for `operand` is wanted at all.
  bool isActive(mlir::Value operand) const { return operand && isActiveFn(operand); }
  /// Adds `gradient`, summed down to the shape of `operand` where it broadcast.
  void accumulate(mlir::Value operand, mlir::Value gradient) const;

  template <typename OpTy, typename... Args> mlir::Value create(Args &&...args) const {
    return OpTy::create(builder, loc, std::forward<Args>(args)...).getResult();
  }
  mlir::Value scalar(double value, mlir::Type elementType) const;
  mlir::Value add(mlir::Value a, mlir::Value b) const { return create<lm::AddOp>(a, b); }
  mlir::Value sub(mlir::Value a, mlir::Value b) const { return create<lm::SubOp>(a, b); }
  mlir::Value mul(mlir::Value a, mlir::Value b) const { return create<lm::MulOp>(a, b); }
  mlir::Value mul(mlir::Value a, double b) const;
  mlir::Value add(mlir::Value a, double b) const;
  mlir::Value div(mlir::Value a, mlir::Value b) const { return create<lm::DivOp>(a, b); }
  mlir::Value neg(mlir::Value a) const { return create<lm::NegOp>(a); }
  mlir::Value matmul(mlir::Value a, mlir::Value b) const { return create<lm::MatMulOp>(a, b); }
  mlir::Value reshape(mlir::Value a, llvm::ArrayRef<lm::SymExpr> dims) const;
  mlir::Value transpose(mlir::Value a, llvm::ArrayRef<int64_t> perm) const;
  /// Swaps the last two dimensions.
  mlir::Value transposeMatrix(mlir::Value a) const;
  mlir::Value sum(mlir::Value a, llvm::ArrayRef<int64_t> axes, bool keepdims) const;
  mlir::Value mean(mlir::Value a, llvm::ArrayRef<int64_t> axes, bool keepdims) const;

private:
  llvm::function_ref<void(mlir::Value, mlir::Value)> accumulateFn;
  llvm::function_ref<bool(mlir::Value)> isActiveFn;
};

/// Applies the rule of `op`, given the gradient of its result. Failure: the
/// operation has no rule (nothing was built).
mlir::LogicalResult applyVJP(mlir::Operation *op, mlir::Value gradient, const VJPContext &context);

/// Builds, behind `loss` (one element), the gradients of `loss` with respect to
/// `targets`, in their order; a target that the loss does not depend on gets
/// zeros. An operation without a rule on an active path is an error that names
/// the path from it to the loss.
mlir::FailureOr<llvm::SmallVector<mlir::Value>> buildGradients(mlir::OpBuilder &builder, mlir::Value loss,
                                                               llvm::ArrayRef<mlir::Value> targets);

/// The same, of several values whose gradients are known: pairs of value and gradient,
/// the values of one block.
mlir::FailureOr<llvm::SmallVector<mlir::Value>>
buildGradients(mlir::OpBuilder &builder, llvm::ArrayRef<std::pair<mlir::Value, mlir::Value>> roots,
               llvm::ArrayRef<mlir::Value> targets);

} // namespace llmopt

#endif
