// Reductions, scans and softmax.
#ifndef LLMOPT_LM_REDUCE_OPS
#define LLMOPT_LM_REDUCE_OPS

include "llmopt/Dialect/LM/IR/LMAttributes.td"

def LM_ReduceOp : LM_InferredOp<"reduce"> {
  let summary = "reduction over axes";
  let description = [{
    - (C1) `axes` are distinct and in [0, rank).
  }];
  let arguments = (ins LM_ReduceKindAttr:$kind, LM_RankedTensor:$input, DenseI64ArrayAttr:$axes, BoolAttr:$keepdims);
  let results = (outs LM_RankedTensor:$result);
  let assemblyFormat = "$kind operands attr-dict `:` functional-type(operands, results)";
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_ArgReduceOp : LM_InferredOp<"arg_reduce"> {
  let summary = "index of the largest (or smallest) element along an axis, as i64";
  let description = [{
    - (C1) `axis` is in [0, rank).
  }];
  let arguments = (ins LM_RankedTensor:$input, I64Attr:$axis, BoolAttr:$keepdims, BoolAttr:$smallest, BoolAttr:$last);
  let results = (outs LM_IntTensor:$result);
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_CumSumOp : LM_InferredOp<"cum_sum"> {
  let summary = "running sum along an axis";
  let description = [{
    - (C1) `axis` is in [0, rank).
  }];
  let arguments = (ins LM_RankedTensor:$input, I64Attr:$axis, BoolAttr:$exclusive, BoolAttr:$reverse);
  let results = (outs LM_RankedTensor:$result);
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_SoftmaxOp : LM_InferredOp<"softmax"> {
  let summary = "softmax along an axis, or its logarithm";
  let description = [{
    exp(x - max x) / sum exp(x - max x); a row of only -inf gives NaN.

    - (C1) `axis` is in [0, rank).
  }];
  let arguments = (ins LM_FloatTensor:$input, I64Attr:$axis, DefaultValuedAttr<BoolAttr, "false">:$log);
  let results = (outs LM_FloatTensor:$result);
  let hasVerifier = 1;
}

#endif
