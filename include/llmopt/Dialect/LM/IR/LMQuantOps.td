// Explicit quantization: scales and zero points are operands.
#ifndef LLMOPT_LM_QUANT_OPS
#define LLMOPT_LM_QUANT_OPS

include "llmopt/Dialect/LM/IR/LMAttributes.td"

def LM_AbsMaxScaleOp : LM_InferredOp<"absmax_scale"> {
  let summary = "symmetric scale: max |x| / qmax over `axes`, kept as size 1";
  let description = [{
    With axes = [last] one scale per token, with axes = [0] of a [K, N] weight one
    per output channel. A slice of zeros gets scale 1.

    - (C1) `axes` are distinct and in [0, rank).
    - (C2) `qmax` is positive.
  }];
  let arguments = (ins LM_FloatTensor:$input, DenseI64ArrayAttr:$axes, F64Attr:$qmax);
  let results = (outs LM_FloatTensor:$result);
  let hasVerifier = 1;
}

def LM_QuantizeOp : LM_Op<"quantize"> {
  let summary = "saturate(round_half_even(x / scale) + zero_point)";
  let description = [{
    `scale` and `zero_point` broadcast to `input`. The quotient is rounded to the
    type of `scale` (ONNX's default precision); NaN gives the smallest value.
    `narrow_range` leaves the smallest value out. To floats of 4 or 8 bits the
    quotient (plus zero point, for 4 bits) is converted as by `lm.cast`.

    - (C1) `zero_point`, where present, has the result's element type.
    - (C2) `scale` and `zero_point` broadcast to `input`; the result has its shape.
    - (C3) `narrow_range` goes with a signed result.
  }];
  let arguments = (ins LM_FloatTensor:$input, LM_FloatTensor:$scale, Optional<LM_AnyTensor>:$zero_point,
                       DefaultValuedAttr<BoolAttr, "false">:$narrow_range,
                       DefaultValuedAttr<BoolAttr, "true">:$saturate);
  let results = (outs LM_AnyTensor:$result);
  let assemblyFormat = "$input `scale` $scale (`zero_point` $zero_point^)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def LM_DequantizeOp : LM_InferredOp<"dequantize"> {
  let summary = "(q - zero_point) scale";
  let description = [{
    `scale` and `zero_point` broadcast to `input`.

    - (C1) `zero_point`, where present, has the operand's element type.
    - (C2) `scale` and `zero_point` broadcast to `input`.
  }];
  let arguments = (ins LM_AnyTensor:$input, LM_FloatTensor:$scale, Optional<LM_AnyTensor>:$zero_point);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = "$input `scale` $scale (`zero_point` $zero_point^)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

#endif
