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

#endif
