// What only training steps use.
#ifndef LLMOPT_LM_TRAINING_OPS
#define LLMOPT_LM_TRAINING_OPS

include "llmopt/Dialect/LM/IR/LMAttributes.td"

def LM_EmbeddingGradOp : LM_Op<"embedding_grad"> {
  let summary = "gradient of an embedding table: rows of `gradient` summed by id";
  let description = [{
    ids [...], gradient [..., H] -> [V, H]; row v is the sum, in the order of ids,
    of the gradient rows whose id is v (or v - V).

    - (C1) `gradient` has the shape of `ids` and one more dimension, the result's
      last.
  }];
  let arguments = (ins LM_IntTensor:$ids, LM_FloatTensor:$gradient);
  let results = (outs LM_FloatTensor:$result);
  let hasVerifier = 1;
}

def LM_AttentionGradOp : LM_Op<"attention_grad"> {
  let summary = "gradient of attention by one of its operands";
  let description = [{
    Operands and attributes of `lm.attention`, and `gradient` [B, Sq, N*Dv], that of
    its result. With P = softmax(scale Q K^T + mask) as `lm.attention` has it, dP = dO
    V^T and dS = P (dP - sum_j dP P):

    query: scale dS K; key: scale dS^T Q; value: P^T dO, each in the operand's own
    layout, key and value summed over the query heads that share one; mask: dS, [B, N,
    Sq, Sk] (of an additive one). Nothing of the forward pass is needed but its
    operands: P is computed again, so that no score lives from there to here (Dao et
    al. 2022 keep its row sums, which a pass over whole rows of scores finds anew).

    A row whose probabilities do not depend on its scores (see `fully_masked`: zero,
    and source without any key) has dS = 0; where they are NaN, gradients are.

    - (C1) operands fit as those of `lm.attention` do, and `gradient` its result.
    - (C2) the result has the type of the operand; for the mask, which is additive
      then, [B, N, Sq, Sk] in its element type.
  }];
  let arguments = (ins LM_AttentionOperandAttr:$of, LM_FloatTensor:$query, LM_FloatTensor:$key,
                       LM_FloatTensor:$value, Optional<LM_AnyTensor>:$mask, LM_FloatTensor:$gradient,
                       I64Attr:$num_heads, I64Attr:$kv_num_heads, F64Attr:$scale, LM_MaskKindAttr:$mask_kind,
                       DefaultValuedAttr<BoolAttr, "false">:$causal, LM_FullyMaskedAttr:$fully_masked);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = [{
    $of `of` $query `,` $key `,` $value (`mask` $mask^)? `gradient` $gradient attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def LM_DropoutOp : LM_Op<"dropout", [AllTypesMatch<["input", "result"]>]> {
  let summary = "zeros instead of some elements, the others divided by 1 - probability";
  let description = [{
    Element i (row major) is 0 where the upper 24 bits of word i, as a number in [0,
    1), are below `probability`, else input / (1 - probability) (Srivastava et al.
    2014). Word i is word i mod 4 of Philox4x32-10 (Salmon et al. 2011) with the key `seed`
    (low half first) and the counter i/4 (low 32 bits, high 32 bits), `id`, `step`
    modulo 2^32: a function of numbers alone, so that threads and tiles do not
    matter, and the mask needs no memory. The operation is linear in `input`, and
    with the same other operands its own gradient.

    With probability 0 it is the identity, bit for bit; with 1 all zeros.

    - (C1) `probability` is an f32 or f64 scalar, `seed` and `step` are i64 scalars.
    - (C2) `id`, which tells places of a model apart, is in [0, 2^32).
  }];
  let arguments = (ins LM_FloatTensor:$input, LM_FloatTensor:$probability, LM_IntTensor:$seed, LM_IntTensor:$step,
                       I64Attr:$id);
  let results = (outs LM_FloatTensor:$result);
  let hasVerifier = 1;
}

#endif
