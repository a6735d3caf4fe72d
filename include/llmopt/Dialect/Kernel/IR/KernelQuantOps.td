// Operations of the kernel plan whose weights stay quantized in memory: int4 in
// groups along K, and int8 with one scale per column.
#ifndef LLMOPT_KERNEL_QUANT_OPS
#define LLMOPT_KERNEL_QUANT_OPS

include "llmopt/Dialect/Kernel/IR/KernelBase.td"

def Kernel_PackGroupsOp : Kernel_Op<"pack_groups"> {
  let summary = "an int4 weight with its scales in the layout its kernels read; the end of a recipe";
  let description = [{
    q [K/G, G, N] with scale [K/G, 1, N] and, where it is not symmetric, zero_point
    [K/G, 1, N], in panels of `width` columns: [ceil(N/width)][K/G][block] bytes,
    zero beyond N. A block is what one group of one panel needs, in one piece:

    - [width] f32: scales.
    - [width] f32, with a zero point only: what is subtracted from the stored
      nibbles.
    - [G/8][width][4] bytes: byte j of step p holds k = 8p + j in its low half and
      k = 8p + 4 + j in the high one.

    Nibbles are unsigned: q, or q + 8 where q is signed.

    As `rows` (width 1) columns lie one behind the other, in three parts that begin at
    multiples of 16 bytes: nibbles [N][K/G][G/2], the lower half of a byte first (the
    bytes of ONNX's MatMulNBits); scales [N][K/G]; with a zero point, what is
    subtracted from nibbles, [N][ceil(K/G/2)] bytes of two.

    - (C1) operands are static; q is of 4-bit integers; G is a multiple of 32.
    - (C2) scale is f32, or f16 in rows, and [K/G, 1, N]; zero_point has its shape and
      q's type.
    - (C3) `layout` is panels or rows; `width` is positive, and 1 of rows; the result is
      i8 and [ceil(N/width), K/G, block], or [bytes] of rows.
  }];
  let arguments = (ins LM_IntTensor:$input, LM_FloatTensor:$scale, Optional<LM_IntTensor>:$zero_point,
                       I64Attr:$width,
                       DefaultValuedAttr<Kernel_LayoutAttr, "::llmopt::kernel::Layout::Panels">:$layout);
  let results = (outs LM_IntTensor:$result);
  let assemblyFormat = [{
    $width $input `scale` $scale (`zero_point` $zero_point^)? attr-dict `:` functional-type(operands, results)
  }];
  let builders = [OpBuilder<(ins "::mlir::Value":$input, "::mlir::Value":$scale, "::mlir::Value":$zero_point,
                                 "::llmopt::kernel::Layout":$layout, "int64_t":$width)>];
  let hasVerifier = 1;
}

def Kernel_GemmW4A8Op : Kernel_Op<"gemm_w4a8", [AttrSizedOperandSegments]> {
  let summary = "activation(sum over groups of scaled integer sums + bias) + residual, W packed int4";
  let description = [{
    q [..., k] -> [..., n], with groups of `group` elements along k:

      y[r, n] = sum_g (input_scale[r, g] scale[g, n]) sum_{k in g} q[r, k] (u[k, n] - z[g, n])

    where u are the nibbles that `kernel.pack_groups` stores, and z is `offset`, or,
    with `zero_points`, what the weight holds. Sums within a group are exact
    integers on every target. input_scale has one entry per group, or one per row.

    - (C1) `group` is a multiple of 32 and divides k; `weight` is what pack_groups
      makes of it in `layout`, with scales of f32.
    - (C2) `input` is i8, its last dimension is k, and the others are the result's.
    - (C3) `input_scale` has the result's dimensions but the last: k / group or 1.
    - (C4) `bias` is [n]; `residual` has the result's type.
    - (C5) k is at most 131071.
  }];
  let arguments = (ins LM_IntTensor:$input, LM_FloatTensor:$input_scale, LM_IntTensor:$weight,
                       Optional<LM_FloatTensor>:$bias, Optional<LM_FloatTensor>:$residual, I64Attr:$n, I64Attr:$k,
                       I64Attr:$group, I64Attr:$offset, DefaultValuedAttr<BoolAttr, "false">:$zero_points,
                       DefaultValuedAttr<Kernel_ActivationAttr, "::llmopt::kernel::Activation::None">:$activation,
                       DefaultValuedAttr<Kernel_LayoutAttr, "::llmopt::kernel::Layout::Panels">:$layout);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = [{
    $input `scale` $input_scale `,` $weight (`bias` $bias^)? (`residual` $residual^)?
    attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Kernel_GemmWQOp : Kernel_Op<"gemm_wq", [AttrSizedOperandSegments]> {
  let summary = "activation(x W + bias) + residual, W packed int4 or int8, x float";
  let description = [{
    x [..., k] -> [..., n]. The weight is what `kernel.pack_groups` makes of groups of
    `group` elements (u - offset, or minus the zero point it holds, times its
    scale); or, with `group` = 0, int8 [k, n] packed by `kernel.pack`, times
    `weight_scale`.

    - (C1) `weight` is packed so, in `layout`, which is panels or rows: `group` is 0, or a
      multiple of 32 that divides k. Scales of groups are f16 with `half_scales`, which
      goes with rows.
    - (C2) `weight_scale` is [n] and there exactly when `group` is 0.
    - (C3) the last dimension of `input` is k, and the others are the result's.
    - (C4) `bias` is [n]; `residual` has the result's type.
  }];
  let arguments = (ins LM_FloatTensor:$input, LM_IntTensor:$weight, Optional<LM_FloatTensor>:$weight_scale,
                       Optional<LM_FloatTensor>:$bias, Optional<LM_FloatTensor>:$residual, I64Attr:$n, I64Attr:$k,
                       I64Attr:$group, I64Attr:$offset, DefaultValuedAttr<BoolAttr, "false">:$zero_points,
                       DefaultValuedAttr<Kernel_ActivationAttr, "::llmopt::kernel::Activation::None">:$activation,
                       DefaultValuedAttr<Kernel_LayoutAttr, "::llmopt::kernel::Layout::Panels">:$layout,
                       DefaultValuedAttr<BoolAttr, "false">:$half_scales);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = [{
    $input `,` $weight (`scale` $weight_scale^)? (`bias` $bias^)? (`residual` $residual^)?
    attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Kernel_QuantizeTensorOp : Kernel_Op<"quantize_tensor"> {
  let summary = "int8 with one scale, known before, and perhaps a zero point";
  let description = [{
    saturate(round_half_even(x / scale) + zero_point), as `lm.quantize` defines it:
    NaN gives the smallest value, and `narrow_range` leaves -128 out.

    - (C1) the operand is f32, f16 or bf16, has rank >= 1 and a static last dimension.
    - (C2) the result has the operand's shape and is i8.
    - (C3) `scale` is one f32, `zero_point` one i8.
  }];
  let arguments = (ins LM_FloatTensor:$input, LM_FloatTensor:$scale, Optional<LM_IntTensor>:$zero_point,
                       DefaultValuedAttr<BoolAttr, "false">:$narrow_range);
  let results = (outs LM_IntTensor:$result);
  let assemblyFormat = [{
    $input `scale` $scale (`zero_point` $zero_point^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Kernel_ColumnSumsOp : Kernel_Op<"column_sums"> {
  let summary = "the sums of the columns of an int8 matrix; a recipe";
  let description = [{
    i8 [K, N] -> i32 [N]: what a zero point of the other factor is multiplied by.

    - (C1) the operand is static, of rank 2 and i8.
    - (C2) the result is i32 [N].
  }];
  let arguments = (ins LM_IntTensor:$input);
  let results = (outs LM_IntTensor:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
  let builders = [OpBuilder<(ins "::mlir::Value":$input)>];
  let hasVerifier = 1;
}

def Kernel_NormQuantizedOp : Kernel_Op<"norm_quantized", [AttrSizedOperandSegments]> {
  let summary = "kernel.norm, and its result as kernel.quantize_rows would give it";
  let description = [{
    A row is quantized while it is in the cache: as a whole, or in groups of its
    elements, as many as `quantized_scale` has in its last dimension.

    - (C1) `residual` has the type of `input`; `input_bias`, `scale` and `bias` are [H].
    - (C2) `result` and `sum` have the type of `input`, which is f32, f16 or bf16 of known width.
    - (C3) `quantized` has its shape and is i8, or f8E4M3FN with one scale per row.
    - (C4) `quantized_scale` is f32 and has the dimensions of `input` but the last,
      which divides it.
  }];
  let arguments = (ins LM_NormKindAttr:$kind, LM_FloatTensor:$input, Optional<LM_FloatTensor>:$residual,
                       Optional<LM_FloatTensor>:$input_bias, Optional<LM_FloatTensor>:$scale,
                       Optional<LM_FloatTensor>:$bias, F64Attr:$epsilon);
  let results = (outs LM_FloatTensor:$result, LM_RankedTensor:$quantized, LM_FloatTensor:$quantized_scale,
                      Optional<LM_FloatTensor>:$sum);
  let assemblyFormat = [{
    $kind $input (`residual` $residual^)? (`input_bias` $input_bias^)? (`scale` $scale^)? (`bias` $bias^)?
    attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Kernel_NormQuantizedTensorOp : Kernel_Op<"norm_quantized_tensor", [AttrSizedOperandSegments]> {
  let summary = "kernel.norm, and its result as kernel.quantize_tensor would give it";
  let description = [{
    As `kernel.norm_quantized`, with one scale and perhaps a zero point for all rows.

    - (C1) `residual` has the type of `input`; `input_bias`, `scale` and `bias` are [H].
    - (C2) `result` and `sum` have the type of `input`, which is f32, f16 or bf16 of known width.
    - (C3) `quantized` has its shape and is i8.
    - (C4) `tensor_scale` is one f32, `tensor_zero_point` one i8.
  }];
  let arguments = (ins LM_NormKindAttr:$kind, LM_FloatTensor:$input, Optional<LM_FloatTensor>:$residual,
      Optional<LM_FloatTensor>:$input_bias, Optional<LM_FloatTensor>:$scale, Optional<LM_FloatTensor>:$bias,
      LM_FloatTensor:$tensor_scale, Optional<LM_IntTensor>:$tensor_zero_point, F64Attr:$epsilon,
      DefaultValuedAttr<BoolAttr, "false">:$narrow_range);
  let results = (outs LM_FloatTensor:$result, LM_IntTensor:$quantized, Optional<LM_FloatTensor>:$sum);
  let assemblyFormat = [{
    $kind $input (`residual` $residual^)? (`input_bias` $input_bias^)? (`scale` $scale^)? (`bias` $bias^)?
    `quantized` $tensor_scale (`zero_point` $tensor_zero_point^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

#endif
