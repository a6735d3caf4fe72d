// Matrix products and convolution.
#ifndef LLMOPT_LM_MATMUL_OPS
#define LLMOPT_LM_MATMUL_OPS

include "llmopt/Dialect/LM/IR/LMAttributes.td"

def LM_MatMulOp : LM_InferredOp<"matmul"> {
  let summary = "matrix product of the last two dimensions, NumPy rules";
  let description = [{
    Rank 1 operands are a row (left) or a column (right) that the result lacks;
    leading dimensions broadcast.

    - (C1) the contracted dimensions are equal, where known.
    - (C2) both operands have rank >= 1 and the same element type.
  }];
  let arguments = (ins LM_RankedTensor:$lhs, LM_RankedTensor:$rhs);
  let results = (outs LM_RankedTensor:$result);
  let hasVerifier = 1;
}

def LM_LinearOp : LM_InferredOp<"linear"> {
  let summary = "x W + b over the last dimension (L1)";
  let description = [{
    input [..., K], weight [K, N] (or [N, K] with `transpose_weight`), bias [N].

    - (C1) `weight` has rank 2 and its K is the last dimension of `input`.
    - (C2) `bias`, where present, is [N].
    - (C3) all operands have one element type.
  }];
  let arguments = (ins LM_FloatTensor:$input, LM_FloatTensor:$weight, Optional<LM_FloatTensor>:$bias,
                       DefaultValuedAttr<BoolAttr, "false">:$transpose_weight);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = "$input `,` $weight (`bias` $bias^)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def LM_ConvOp : LM_InferredOp<"conv"> {
  let summary = "convolution over the dimensions behind batch and channel (ONNX Conv)";
  let description = [{
    input [B, C, spatial...], weight [M, C/groups, kernel...], bias [M];
    `pads` lists all lower ones, then all upper ones. Integers wrap.

    - (C1) attribute lengths fit the spatial rank; strides and dilations are
      positive, pads are not negative, and all are below 2^31.
    - (C2) C = weight[1] * groups and groups divides M.
    - (C3) `bias`, where present, is [M]; all operands have one element type.
  }];
  let arguments = (ins LM_RankedTensor:$input, LM_RankedTensor:$weight, Optional<LM_RankedTensor>:$bias,
                       DenseI64ArrayAttr:$strides, DenseI64ArrayAttr:$pads, DenseI64ArrayAttr:$dilations, I64Attr:$groups);
  let results = (outs LM_RankedTensor:$result);
  let assemblyFormat = "$input `,` $weight (`bias` $bias^)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

#endif
