// What a model is trained for. Formulas in f32 lm operations; gradients follow from
// the rules of these operations.
#ifndef LLMOPT_LIB_TRANSFORMS_TRAINING_LOSSES_H
#define LLMOPT_LIB_TRANSFORMS_TRAINING_LOSSES_H

#include "llmopt/Transforms/Training/Autodiff.h"

namespace llmopt {

/// Sums over all labels that count, and their number; both f32 scalars.
struct Loss {
  mlir::Value sum, weight;
};

/// Adds an argument to the function that is built.
struct LossInputs {
  /// A label of the given type; integers lie in [0, classes) or are -100.
  llvm::function_ref<mlir::Value(llvm::StringRef name, mlir::Type type, std::optional<lm::SymExpr> classes)> label;
  /// An f32 scalar that a caller may set at run time.
  llvm::function_ref<mlir::Value(llvm::StringRef name, double byDefault)> hyper;
};

/// Builds the loss `kind` of `predictions`. Failure: `error` says what is wrong.
mlir::FailureOr<Loss> buildLoss(llvm::StringRef kind, mlir::Value predictions, const LossInputs &inputs,
                                const VJPContext &context, std::string &error);

} // namespace llmopt

#endif
