// What each Raise pass looks for, shared with the fusion report: the report
// explains a site with the very matcher that did not raise it.
//
// A matcher returns nullopt where the operation does not even begin its idiom.
#ifndef LLMOPT_LIB_TRANSFORMS_RAISE_RAISEMATCHERS_H
#define LLMOPT_LIB_TRANSFORMS_RAISE_RAISEMATCHERS_H

#include "llmopt/Transforms/Matching.h"

namespace llmopt {

template <typename T> using Candidate = std::optional<MatchOr<T>>;

struct EmbeddingMatch {
  lm::GatherOp gather;
};
Candidate<EmbeddingMatch> matchEmbedding(lm::GatherOp gather);

struct NormMatch {
  lm::NormKind kind;
  mlir::Value input;
  double epsilon;
  /// The normalised value, before scale and bias, and every operation of it.
  mlir::Operation *root;
  llvm::SmallVector<mlir::Location> locations;
};
/// Anchored at the mean of squares.
Candidate<NormMatch> matchNorm(lm::ReduceOp reduce);

struct GeluMatch {
  lm::GeluKind kind;
  mlir::Value input;
  mlir::Operation *root;
};
/// Anchored at lm.erf, lm.tanh or lm.sigmoid.
Candidate<GeluMatch> matchGelu(mlir::Operation *op);

struct LinearMatch {
  lm::MatMulOp matmul;
  mlir::Value weight;
  bool transposeWeight;
};
Candidate<LinearMatch> matchLinear(lm::MatMulOp matmul);
/// A linear without bias whose only reader adds a vector: that sum and vector.
std::optional<std::pair<lm::AddOp, mlir::Value>> findBias(lm::LinearOp linear);

struct QKVMatch {
  lm::AttentionOp attention;
  lm::LinearOp query, key, value;
};
/// nullopt where the three are packed already (see isPackedQKV).
Candidate<QKVMatch> matchQKV(lm::AttentionOp attention);
/// Whether query, key and value are slices of one linear.
bool isPackedQKV(lm::AttentionOp attention);

} // namespace llmopt

#endif
