// What only training steps use.
#ifndef LLMOPT_KERNEL_TRAINING_OPS
#define LLMOPT_KERNEL_TRAINING_OPS

include "llmopt/Dialect/Kernel/IR/KernelBase.td"

def Kernel_PackPanelsOp : Kernel_Op<"pack_panels"> {
  let summary = "kernel.pack while the model runs: a weight that changes between runs";
  let description = [{
    An f32 [K, N] matrix, or with `transpose` an [N, K] one, in panels of `width`
    columns: [ceil(N/width)][K][width], zero beyond N.

    - (C1) the operand is static and has rank 2.
    - (C2) the result is as described, of the operand's element type.
  }];
  let arguments = (ins LM_FloatTensor:$input, I64Attr:$width, UnitAttr:$transpose);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = "$width $input attr-dict `:` functional-type(operands, results)";
  let builders = [OpBuilder<(ins "::mlir::Value":$input, "int64_t":$width, "bool":$transpose)>];
  let hasVerifier = 1;
}

def Kernel_EmbeddingGradOp : Kernel_Op<"embedding_grad"> {
  let summary = "rows of a gradient summed by id, in the order of ids";
  let description = [{
    ids [...], gradient [..., H] -> [V, H], as lm.embedding_grad says; ids outside of
    [-V, V) add nothing.

    - (C1) V and H are static.
    - (C2) `gradient` has H elements for every id.
  }];
  let arguments = (ins LM_IntTensor:$ids, LM_FloatTensor:$gradient);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = "$ids `,` $gradient attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

#endif
