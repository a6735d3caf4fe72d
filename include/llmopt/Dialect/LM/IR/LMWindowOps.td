// Sliding windows. Pooling is a reduction of them; padding is lm.pad before them.
#ifndef LLMOPT_LM_WINDOW_OPS
#define LLMOPT_LM_WINDOW_OPS

include "llmopt/Dialect/LM/IR/LMAttributes.td"

def LM_WindowsOp : LM_InferredOp<"windows"> {
  let summary = "overlapping slices of some dimensions, as dimensions of their own";
  let description = [{
    Dimension `axes[i]` of n elements becomes the number of the window,
    floor((n - (sizes[i] - 1) dilations[i] - 1) / strides[i]) + 1 of them; behind
    all dimensions of the operand, the places within a window follow, one
    dimension of `sizes[i]` elements per axis. For axes = [1]:
    result[b, w, k] = input[b, w * stride + k * dilation].

    - (C1) `axes` are distinct and in [0, rank).
    - (C2) `sizes`, `strides` and `dilations` have one positive entry per axis,
      below 2^31.
    - (C3) where known, a dimension holds at least one window.
  }];
  let arguments = (ins LM_RankedTensor:$input, DenseI64ArrayAttr:$axes, DenseI64ArrayAttr:$sizes,
                       DenseI64ArrayAttr:$strides, DenseI64ArrayAttr:$dilations);
  let results = (outs LM_RankedTensor:$result);
  let hasFolder = 1;
}

#endif
