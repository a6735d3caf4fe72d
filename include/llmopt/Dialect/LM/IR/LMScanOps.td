// Recurrences along an axis.
#ifndef LLMOPT_LM_SCAN_OPS
#define LLMOPT_LM_SCAN_OPS

include "llmopt/Dialect/LM/IR/LMIndexOps.td"

def LM_CumProdOp : LM_InferredOp<"cum_prod"> {
  let summary = "running product along an axis";
  let description = [{
    - (C1) `axis` is in [0, rank).
  }];
  let arguments = (ins LM_RankedTensor:$input, I64Attr:$axis, BoolAttr:$exclusive, BoolAttr:$reverse);
  let results = (outs LM_RankedTensor:$result);
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_LinearAttentionOp : LM_InferredOp<"linear_attention", [LM_Sequential, AttrSizedOperandSegments]> {
  let summary = "attention as a recurrence over a state (ONNX LinearAttention)";
  let description = [{
    query [B, T, Nkv*G*Dk], key [B, T, Nkv*Dk], value [B, T, Nkv*Dv], and optionally
    past [B, Nkv, Dk, Dv], decay [B, T, Nkv] or [B, T, Nkv*Dk], beta [B, T, Nkv] or
    [B, T, 1]. For every head, from the past state (or zeros), at every t:

        S *= exp(decay);  v = value, or beta (value - S^T key);  S += key v^T;
        out[g] = scale S^T query[g]

    Result [B, Nkv, T*G + Dk, Dv]: rows t*G + g are the outputs, the last Dk the
    final state.

    - (C1) query, key and value have rank 3 and one element type; `num_heads`
      divides the widths, and the width of query is a known multiple of key's.
    - (C2) `past`, `decay` and `beta` have the shapes above and that element type.
  }];
  let arguments = (ins LM_FloatTensor:$query, LM_FloatTensor:$key, LM_FloatTensor:$value,
                       Optional<LM_FloatTensor>:$past, Optional<LM_FloatTensor>:$decay,
                       Optional<LM_FloatTensor>:$beta, I64Attr:$num_heads, F64Attr:$scale);
  let results = (outs LM_FloatTensor:$result);
  let hasVerifier = 1;
}

#endif
