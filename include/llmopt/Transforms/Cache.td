// Passes over what a model keeps between runs.
#ifndef LLMOPT_TRANSFORMS_CACHE
#define LLMOPT_TRANSFORMS_CACHE

include "mlir/Pass/PassBase.td"

def KVCachePass : Pass<"lm-kv-cache", "::mlir::func::FuncOp"> {
  let summary = "keep past keys and values in the session, and append to them in place";
  let description = [{
    Every result that is `lm.concat` of an input, the past, and new tokens, and that
    else only lm.attention reads as key or value, becomes `lm.kv_append` to an
    argument with `lm.cache`. The input and the result go: the runtime keeps them.
    Pasts are [B, H, P, D] (by head) or [B, P, ...] (by token); caches are always
    [B, capacity, W]. The function says which symbols the runtime defines:
    `lm.past`, the tokens in the caches, and `lm.capacity`.

    It is an error when there is no such result, when one of them has another
    form, or when an input of the past is left.
  }];
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

#endif
