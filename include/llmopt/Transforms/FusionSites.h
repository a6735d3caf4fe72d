// Sites that the kernel plan fuses later, found on raised IR.
//
// Nothing is rewritten here: skip+norm and embedding+norm stay separate
// operations until the plan gives them one kernel.
#ifndef LLMOPT_TRANSFORMS_FUSIONSITES_H
#define LLMOPT_TRANSFORMS_FUSIONSITES_H

#include "llmopt/Dialect/LM/IR/LM.h"

#include <optional>

namespace llmopt {

/// norm(input + residual): the sum of two activations of one shape.
struct SkipNormSite {
  lm::NormOp norm;
  lm::AddOp add;
  /// The sum has other readers (pre-norm models): the kernel must store it too.
  bool sumIsUsedElsewhere;
};
std::optional<SkipNormSite> findSkipNorm(lm::NormOp norm);

/// norm(embedding + embedding/table + ...): at least one term is an lm.embedding,
/// every other one is an embedding or does not depend on inputs of the model.
struct EmbedNormSite {
  lm::NormOp norm;
  llvm::SmallVector<lm::EmbeddingOp> embeddings;
  /// Terms that are weights, slices of weights or lookups by constant ids.
  llvm::SmallVector<mlir::Value> tables;
};
std::optional<EmbedNormSite> findEmbedNorm(lm::NormOp norm);

/// What directly follows a linear: an activation, then a residual sum.
struct LinearEpilogue {
  lm::LinearOp linear;
  /// lm.gelu, lm.relu, lm.tanh, lm.sigmoid, or null.
  mlir::Operation *activation = nullptr;
  /// The sum with a residual of the same shape, or null; and that residual.
  lm::AddOp add;
  mlir::Value residual;
  /// The value that the whole site yields.
  mlir::Value result;
};
/// Follows single uses only, so an empty epilogue is possible.
LinearEpilogue findLinearEpilogue(lm::LinearOp linear);

} // namespace llmopt

#endif
