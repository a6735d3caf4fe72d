// Passes over what a model keeps between runs.
#ifndef LLMOPT_TRANSFORMS_CACHE
#define LLMOPT_TRANSFORMS_CACHE

include "mlir/Pass/PassBase.td"

def KVCachePass : Pass<"lm-kv-cache", "::mlir::func::FuncOp"> {
  let summary = "keep past keys and values in the session, and append to them in place";
  let description = [{
    Every result that is an input, the past, with new tokens behind it, and that else
    only lm.attention reads as key or value, becomes `lm.kv_append` to an argument with
    `lm.cache`. The input and the result go: the runtime keeps them. New tokens are
    concatenated, gathered to where they belong, or written into a buffer of fixed
    size; that they come right behind the past is proved (KnownValues). Pasts are
    [B, H, P, D] (by head), [B, P, ...] (by token) or two of them in one [2, ...];
    caches are always [B, capacity, W]. The function says which symbols the runtime
    defines: `lm.past`, the tokens in the caches, and `lm.capacity`; and which inputs
    went because they only said how many tokens there are: `lm.session_inputs`.

    It is an error when there is no such result, when one of them has another
    form, when a mask does not leave out what is behind the tokens in a buffer, or when
    an input of the past is left.

    With `int8` a cache holds integers, [B, capacity, W] i8, and one of its own their
    scales, [B, capacity, heads]: one for each token and head, found when it is
    appended. Attention reads what is left of keys and values.
  }];
  let options = [Option<"int8", "int8", "bool", "false",
                        "Keep keys and values in int8, with a scale per token and head">,
  ];
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

#endif
