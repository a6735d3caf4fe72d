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

/// Of logits [.., C] and labels [..]; `smoothing` may be null. The loss that
/// "cross_entropy" builds.
Loss buildCrossEntropy(mlir::Value logits, mlir::Value labels, mlir::Value smoothing, const VJPContext &context);

/// The loss "causal" of logits that a linear layer gives, in pieces of `chunk` tokens, so
/// that never more logits than that exist.
struct ChunkedLoss {
  Loss loss;
  /// Gradients of the loss by the layer's input and, where `isTrained` says so, by its
  /// weight and bias.
  llvm::SmallVector<std::pair<mlir::Value, mlir::Value>> gradients;
};
mlir::FailureOr<ChunkedLoss> buildChunkedCausal(lm::LinearOp head, int64_t chunk, const LossInputs &inputs,
                                                llvm::function_ref<bool(mlir::Value)> isTrained,
                                                const VJPContext &context);

} // namespace llmopt

#endif
