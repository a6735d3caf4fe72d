// Quantization that stays in floats, for training.
#ifndef LLMOPT_LM_FAKE_QUANT_OPS
#define LLMOPT_LM_FAKE_QUANT_OPS

include "llmopt/Dialect/LM/IR/LMAttributes.td"

def LM_FakeQuantizeOp : LM_InferredOp<"fake_quantize"> {
  let summary = "what is left of a value that is stored in fewer bits";
  let description = [{
    dequantize(quantize(input)) with the integers of `storage`, as `lm.quantize` and
    `lm.dequantize` define them: (q - zero_point) scale, q =
    saturate(round_half_even(input / scale) + zero_point). One scale for all, one per
    channel, or, on an input whose groups are a dimension, one per group.

    For gradients it is the identity where q was not saturated, and constant where it
    was (the straight-through estimator: Bengio et al. 2013; Jacob et al. 2018).
    Scales and zero points get none: they follow the values that they were found from.

    - (C1) `storage` is an integer type of 2 to 16 bits, the element type of
      `zero_point` where that is present; `scale` has the element type of `input`.
    - (C2) `scale` and `zero_point` broadcast to `input`.
    - (C3) `narrow_range` goes with a signed `storage`.
  }];
  let arguments = (ins LM_FloatTensor:$input, LM_FloatTensor:$scale, Optional<LM_IntTensor>:$zero_point,
                       TypeAttr:$storage, DefaultValuedAttr<BoolAttr, "false">:$narrow_range);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = [{
    $input `scale` $scale (`zero_point` $zero_point^)? `as` $storage attr-dict `:` functional-type(operands, results)
  }];
  let extraClassDeclaration = [{
    /// lm.quantize and lm.dequantize that compute the same.
    ::mlir::Value expand(::mlir::OpBuilder &builder);
  }];
  let hasVerifier = 1;
}

#endif
