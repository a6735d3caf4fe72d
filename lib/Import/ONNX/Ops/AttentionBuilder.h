// lm.attention from the forms that operators give it in.
#ifndef LLMOPT_IMPORT_ONNX_OPS_ATTENTIONBUILDER_H
#define LLMOPT_IMPORT_ONNX_OPS_ATTENTIONBUILDER_H

#include "Node.h"

namespace llmopt::onnx_import {

struct AttentionParts {
  /// [B, S, N D], [B, T, Nkv D] and [B, T, Nkv Dv].
  mlir::Value query, key, value;
  int64_t heads = 0, kvHeads = 0;
  /// 0: 1 / sqrt(D).
  double scale = 0;
  /// Added to the scores; rank 4, broadcasts to [B, N, S, T]. May be null.
  mlir::Value additive;
  /// Where attention is allowed; rank 4. May be null.
  mlir::Value keep;
  bool causal = false;
  lm::FullyMasked fullyMasked = lm::FullyMasked::NaN;
};

/// lm.attention; where a width is a symbol, which it cannot take, spellOut().
mlir::Value buildAttention(Node &n, AttentionParts parts);

struct SpelledParts {
  /// [B, N, S, D], [B, Nkv, T, D] and [B, Nkv, T, Dv], of any sizes.
  mlir::Value query, key, value;
  double scale = 0;           ///< 0: 1 / sqrt(D)
  double cap = 0;             ///< scores become cap tanh(scores / cap), unless it is 0
  mlir::Value additive, keep; ///< as above
  bool causal = false;        ///< j <= i + T - S
  mlir::Type precision;       ///< of softmax; null: that of the query
  lm::FullyMasked fullyMasked = lm::FullyMasked::NaN;
};

/// [B, N, S, Dv], and [B, N, S, T]: scores, capped, with the mask, and the weights.
struct Spelled {
  mlir::Value result;
  llvm::SmallVector<mlir::Value, 4> stages;
};

/// Attention by its definition, with matrix products and softmax. Nothing after an
/// error.
Spelled spellOut(Node &n, const SpelledParts &parts);

/// 1 / sqrt(size) as a scalar.
mlir::Value inverseRoot(Node &n, const SymExpr &size, mlir::Type type);
/// Each of the heads of x [B, Nkv, T, D] as often as there are query heads for it.
mlir::Value repeatHeads(Node &n, mlir::Value x, const SymExpr &heads);
/// What both masks allow; each may be null.
mlir::Value bothMasks(Node &n, mlir::Value a, mlir::Value b);
/// One additive mask of both: -inf where attention is not allowed.
mlir::Value asAdditive(Node &n, mlir::Value additive, mlir::Value keep, mlir::Type type);

/// The same with matrix products and softmax, for what lm.attention lacks: scores x
/// capped as cap tanh(x / cap) where `cap` is not 0, and `sinks` [1, N, 1, 1], one more
/// score per head that attends to nothing (may be null). Fully masked rows give 0.
mlir::Value buildSpelledAttention(Node &n, const AttentionParts &parts, double cap, mlir::Value sinks);

/// [B, S, N D] as [B, N, S, D], and back.
mlir::Value toHeads(Node &n, mlir::Value x, int64_t heads);
mlir::Value toTokens(Node &n, mlir::Value x);

/// Widths of query, key and value in a joint projection `total` wide: qkv_hidden_sizes,
/// else thirds. An error where they do not sum up.
Dims jointSizes(Node &n, const SymExpr &total);

/// j < lengths[b] for key j: [B, 1, 1, T].
mlir::Value keysBelow(Node &n, mlir::Value lengths, const SymExpr &keys);
/// j <= i + offset for query i and key j: [1, 1, S, T].
mlir::Value causalMask(Node &n, const SymExpr &queries, const SymExpr &keys, const SymExpr &offset);

/// Rotates pairs of the last dimension of x, [B, A, C, D], of which the first
/// `width` elements take part; cos and sin broadcast to [B, A, C, width / 2].
/// Pairs are neighbours (`interleaved`) or half the width apart.
mlir::Value rotate(Node &n, mlir::Value x, mlir::Value cos, mlir::Value sin, const SymExpr &width, bool interleaved);

} // namespace llmopt::onnx_import

#endif
