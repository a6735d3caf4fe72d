// Fused scaled dot-product attention, f32:
//   out[b, i, h, :] = softmax_j(mask(scale * q[b,i,h,:] . k[b,j,h',:]))
//   v[b,j,h',:]
// with h' = h / (heads / kvHeads).
//
// One tile is a (batch, head, block of queries). Score rows are kept whole in
// scratch memory, so softmax is exact two-pass: maximum, then exponentials and
// their sum, both in a fixed order. Keys that `causal` or `keyLengths` exclude
// are not computed at all; their weight is exactly zero.
#ifndef LLMOPT_CODEGEN_CPU_ATTENTION_H
#define LLMOPT_CODEGEN_CPU_ATTENTION_H

#include "llmopt/CodeGen/CPU/KernelBuilder.h"
#include "llmopt/CodeGen/CPU/Operand.h"

#include <limits>

namespace llmopt::cpu {

struct AttentionSpec {
  std::string name;

  Size batch, queryLength, keyLength;
  int64_t heads = 1;
  int64_t kvHeads = 0;  // 0: as many as heads; divides heads
  int64_t headDim = 64; // of q and k
  int64_t valueDim = 0; // of v and out; 0: headDim

  /// Element [b][token][head][d] lies at base + b * batchStride + token *
  /// tokenStride + head * headStride + d. A joint [B,S,3H] projection is one
  /// buffer with three offsets, tokenStride 3H and headStride headDim.
  struct Tensor {
    Operand base;
    Size batchStride, tokenStride, headStride;
  };
  Tensor q, k, v, out;
  /// Where given, k and v are bytes, which stand for integers times the scale of
  /// their token and head (headStride 1).
  Tensor kScale, vScale;

  double scale = 1.0;

  enum class Mask {
    None,
    Additive, // f32, added to scaled scores
    Keep      // one byte: 0 replaces the score by maskedValue
  };
  Mask maskKind = Mask::None;
  Operand mask; // [b][h][i][j] at b * maskBatchStride + ... + j; 0 broadcasts
  Size maskBatchStride, maskHeadStride, maskQueryStride;
  double maskedValue = -std::numeric_limits<double>::infinity();

  /// Query i sees keys j <= i + causalOffset.
  bool causal = false;
  Size causalOffset;

  Operand keyLengths;       // [B]: keys j >= length are excluded
  bool keyLengths64 = true; // int64, else int32

  /// What a row gives whose scores are all -inf (or that has no keys).
  /// Source: what softmax of such scores gives, NaN. A row masked by a finite
  /// value (-3.4e38) is not such a row: it is the softmax of equal scores.
  enum class FullyMasked { Source, Nan, Zero };
  FullyMasked fullyMasked = FullyMasked::Source;

  int64_t queryBlock = 0; // queries per tile; 0 takes the default
};

/// Tile (batch, head, query block), the query block fastest.
SizeFormula attentionTiles(const AttentionSpec &spec, const TargetInfo &target);
/// Bytes: constant + scale * ceildiv(keyLength, gemmKC).
SizeFormula attentionScratch(const AttentionSpec &spec,
                             const TargetInfo &target);
void emitAttention(KernelBuilder &kb, const AttentionSpec &spec);

} // namespace llmopt::cpu
#endif
