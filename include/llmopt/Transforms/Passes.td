// Passes over the lm dialect: cleaning up imported graphs and raising L0 to L1.
// docs/passes.md has a section for each.
#ifndef LLMOPT_TRANSFORMS_PASSES
#define LLMOPT_TRANSFORMS_PASSES

include "mlir/Pass/PassBase.td"

def CleanupPass : Pass<"lm-cleanup"> {
  let summary = "bring imported arithmetic, reshapes and transposes into one form";
  let description = [{
    Folds and canonicalises, and adds what raising relies on: chains of reshapes
    and transposes become at most reshape, transpose, reshape; multiplications by
    a scalar move behind them; x^2 is x*x; broadcasts that an elementwise
    operation repeats are dropped; picking one index is a slice. Everything
    keeps the value of every result bit by bit.
  }];
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

def RaiseEmbeddingPass : Pass<"lm-raise-embedding"> {
  let summary = "gather from the rows of a rank-2 weight -> lm.embedding";
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

def RaiseNormPass : Pass<"lm-raise-norm"> {
  let summary = "decomposed layer and RMS normalisation -> lm.norm";
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

def RaiseGeluPass : Pass<"lm-raise-gelu"> {
  let summary = "decomposed GELU (erf, tanh, quick) -> lm.gelu";
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

def RaiseIntegerProductsPass : Pass<"lm-raise-integer-products"> {
  let summary = "scaled product of integers by an integer weight -> product of dequantized values";
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

def RaiseLinearPass : Pass<"lm-raise-linear"> {
  let summary = "matmul by a rank-2 weight, and its bias -> lm.linear";
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

def RaiseAttentionPass : Pass<"lm-raise-attention"> {
  let summary = "scaled dot-product attention around a softmax -> lm.attention";
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

def FuseQKVPass : Pass<"lm-fuse-qkv"> {
  let summary = "three linears on one input that feed one attention -> one linear";
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

def ReportFusionPass : Pass<"lm-report-fusion"> {
  let summary = "print what was raised, what was not, and why";
  let options = [
    Option<"json", "json", "bool", "false", "Print JSON instead of a table">,
  ];
}

#endif
