// What transformers are made of (L1).
#ifndef LLMOPT_LM_TRANSFORMER_OPS
#define LLMOPT_LM_TRANSFORMER_OPS

include "llmopt/Dialect/LM/IR/LMAttributes.td"

def LM_NormOp : LM_InferredOp<"norm", [AttrSizedOperandSegments]> {
  let summary = "layer or RMS normalisation over the last dimension";
  let description = [{
    layer: (x - mean) / sqrt(var + epsilon) * scale + bias (Ba et al. 2016);
    rms: x / sqrt(mean x^2 + epsilon) * scale (Zhang and Sennrich 2019).

    - (C1) `scale` and `bias`, where present, are [H], H the last dimension.
    - (C2) `epsilon` is not negative.
  }];
  let arguments = (ins LM_NormKindAttr:$kind, LM_FloatTensor:$input, Optional<LM_FloatTensor>:$scale,
                       Optional<LM_FloatTensor>:$bias, F64Attr:$epsilon);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = "$kind $input (`scale` $scale^)? (`bias` $bias^)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def LM_GeluOp : LM_InferredOp<"gelu"> {
  let summary = "Gaussian error linear unit";
  let description = [{
    erf: x/2 (1 + erf(x/sqrt 2)); tanh: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)));
    quick: x sigmoid(1.702 x) (Hendrycks and Gimpel 2016).
  }];
  let arguments = (ins LM_GeluKindAttr:$kind, LM_FloatTensor:$input);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = "$kind operands attr-dict `:` functional-type(operands, results)";
}

def LM_EmbeddingOp : LM_InferredOp<"embedding"> {
  let summary = "rows of a table, picked by ids";
  let description = [{
    table [V, H], ids [...] -> [..., H]. An id in [-V, -1] counts from the end.

    - (C1) `table` has rank 2.
  }];
  let arguments = (ins LM_FloatTensor:$table, LM_IntTensor:$ids);
  let results = (outs LM_FloatTensor:$result);
  let hasVerifier = 1;
}

def LM_AttentionOp : LM_InferredOp<"attention"> {
  let summary = "scaled dot-product attention over token-major operands";
  let description = [{
    query [B, Sq, N*D], key [B, Sk, Nkv*D], value [B, Sk, Nkv*Dv], head-major
    within the last dimension; result [B, Sq, N*Dv]. Query head n uses key head
    n / (N/Nkv). softmax(scale Q K^T + mask) V (Vaswani et al. 2017).

    `mask` by `mask_kind`: additive (float) and boolean (true: may attend) have
    rank 4 and broadcast to [B, N, Sq, Sk]; key_lengths (integer) is [B]: keys at
    and beyond the length are masked. With `causal`, query i sees keys j <= i +
    Sk - Sq. `fully_masked` says what a row without any visible key gives: NaN,
    zero, or what the source graph computes with its finite mask value: with
    `source` a boolean, key-length or causal row without any key attends to all
    keys alike, and an additive mask is added to scores that are rounded to its
    element type (its own -inf everywhere still gives NaN).

    - (C1) ranks are 3 and element types equal; batch dimensions agree; key and
      value lengths agree.
    - (C2) `num_heads` is a multiple of `kv_num_heads`, and both divide the widths.
    - (C3) `mask` is present exactly when `mask_kind` is not none, with the rank
      and element type of its kind.
  }];
  let arguments = (ins LM_FloatTensor:$query, LM_FloatTensor:$key, LM_FloatTensor:$value,
                       Optional<LM_AnyTensor>:$mask, I64Attr:$num_heads, I64Attr:$kv_num_heads,
                       F64Attr:$scale, LM_MaskKindAttr:$mask_kind, DefaultValuedAttr<BoolAttr, "false">:$causal,
                       LM_FullyMaskedAttr:$fully_masked);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = "$query `,` $key `,` $value (`mask` $mask^)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

#endif
