// What a raised attention is made from.
#ifndef LLMOPT_LIB_TRANSFORMS_RAISE_ATTENTIONMATCH_H
#define LLMOPT_LIB_TRANSFORMS_RAISE_ATTENTIONMATCH_H

#include "RaiseMatchers.h"

#include "llmopt/Transforms/ViewChain.h"

namespace llmopt {

/// One thing done to the scores on their way to the softmax.
struct MaskTerm {
  enum Kind {
    Add,       // scores + factor mask
    KeepWhere, // where(mask, scores, fill)
    DropWhere, // where(mask, fill, scores)
  };
  Kind kind;
  mlir::Value mask; // without explicit broadcasts
  double factor = 1, fill = 0;
  /// The scores' dimensions at this point: [B, N, Sq, Sk] or [B*N, Sq, Sk].
  llvm::SmallVector<lm::SymExpr> dims;
};

struct AttentionMatch {
  lm::SoftmaxOp softmax;
  lm::MatMulOp scores, context;
  /// [.., Sq, D], [.., D, Sk] and [.., Sk, Dv], factors taken out.
  mlir::Value query, key, value;
  lm::SymExpr batch, queryLength, keyLength;
  int64_t numHeads = 1, headSize = 0, valueSize = 0;
  double scale = 1;
  llvm::SmallVector<MaskTerm> terms;
  bool causal = false;
  lm::MaskKind maskKind = lm::MaskKind::None;
  lm::FullyMasked fullyMasked = lm::FullyMasked::Source;
  llvm::SmallVector<mlir::Location> locations;
};

/// nullopt for a softmax with no product on either side.
Candidate<AttentionMatch> matchAttention(lm::SoftmaxOp softmax);

/// Keys or values [B, S, N*D] in which each of N / `count` heads is repeated for
/// `count` query heads in a row.
struct SharedHeads {
  ViewChain chain; // from the repetition to the token-major value
  lm::BroadcastOp broadcast;
  unsigned atom; // of the chain, that repeats
  int64_t count = 1;
};
std::optional<SharedHeads> findSharedHeads(mlir::Value tokenMajor, int64_t headSize);
/// The heads that there are, [B, S, N/count*D].
mlir::Value buildSharedHeads(mlir::OpBuilder &builder, mlir::Location loc, const SharedHeads &shared);

/// Which probabilities are replaced by 0 behind the softmax: none, NaN ones, or
/// all where the (only) mask masks.
enum class Zeroing { None, NaNs, Masked };

/// Decides the mask's form, what fully masked rows give and `causal`; a miss
/// where the terms cannot be written as one mask.
std::optional<Miss> planMask(AttentionMatch &match, Zeroing zeroing);
/// The mask operand as planned, or null for MaskKind::None.
mlir::Value buildMask(mlir::OpBuilder &builder, mlir::Location loc, const AttentionMatch &match);

} // namespace llmopt

#endif
