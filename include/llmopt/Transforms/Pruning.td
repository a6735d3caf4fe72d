// Passes that remove structure.
#ifndef LLMOPT_TRANSFORMS_PRUNING
#define LLMOPT_TRANSFORMS_PRUNING

include "mlir/Pass/PassBase.td"

def PruneHeadsPass : Pass<"lm-prune-heads", "::mlir::func::FuncOp"> {
  let summary = "keep the attention heads with the largest weights";
  let description = [{
    Each lm.attention whose query, key and value come from lm.linear, and whose
    result only feeds an lm.linear, keeps `keep` heads: those whose rows of the
    output projection have the largest Frobenius norm (the later head wins no
    tie). Projections are sliced, so what is removed costs nothing at run time.
    `lm.kept_heads` on the attention lists the original heads that stay.
  }];
  let options = [
    Option<"keep", "keep", "int64_t", "0", "How many heads each attention keeps">,
  ];
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

#endif
