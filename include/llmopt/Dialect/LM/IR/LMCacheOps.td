// What keeps values from one run to the next.
#ifndef LLMOPT_LM_CACHE_OPS
#define LLMOPT_LM_CACHE_OPS

include "llmopt/Dialect/LM/IR/LMAttributes.td"

def LM_KVAppendOp : LM_InferredOp<"kv_append"> {
  let summary = "rows of past tokens, and new ones behind them";
  let description = [{
    cache [B, C, W], input [B, S, W] -> [B, past + S, W]: the first `past` rows of
    the cache, then the input. The cache is a function argument that the runtime
    keeps between runs (`lm.cache`), with room for C tokens; the plan writes the
    new rows into it in place, so that nothing of the past is copied. Rows that are
    quantized have a cache for their integers and one for their scales.

    - (C1) both operands have rank 3, one element type, and equal B and W.
    - (C2) `past` is one expression.
  }];
  let arguments = (ins LM_AnyTensor:$cache, LM_AnyTensor:$input, LM_SymValuesAttr:$past);
  let results = (outs LM_AnyTensor:$result);
  let assemblyFormat = "$cache `,` $input attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

#endif
