// Operations of the kernel plan.
#ifndef LLMOPT_KERNEL_OPS
#define LLMOPT_KERNEL_OPS

include "llmopt/Dialect/Kernel/IR/KernelBase.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"

def Kernel_PackOp : Kernel_Op<"pack"> {
  let summary = "a weight in the layout its kernel reads; the end of a recipe";
  let description = [{
    A [K, N] weight in panels of `width` columns, zero beyond N and beyond K; or, as
    rows, its transpose, every row a whole number of runs of `width` elements:

    - panels: [ceil(N/width)][K][width].
    - pairs: [ceil(N/width)][ceil(K/2)][width][2], two steps of K side by side.
    - quads: [ceil(N/width)][1 + ceil(K/4)][width][4]. The first entry of a panel
      is [width] int32: -128 times the sum of each column, which is what a kernel
      starts from when it adds 128 to every element of the other operand.
    - rows: [N][ceil(K/width)][width].

    - (C1) the operand is static and has rank 2.
    - (C2) the result has three dimensions, those of [width][..] being one, and
      the operand's element type.
    - (C3) pairs and quads are of 8-bit integers.
  }];
  let arguments = (ins LM_RankedTensor:$input, Kernel_LayoutAttr:$layout, I64Attr:$width);
  let results = (outs LM_RankedTensor:$result);
  let assemblyFormat = "$layout $width $input attr-dict `:` functional-type(operands, results)";
  let builders = [OpBuilder<(ins "::mlir::Value":$input, "::llmopt::kernel::Layout":$layout, "int64_t":$width)>];
  let hasVerifier = 1;
}

def Kernel_ViewOp : Kernel_Op<"view"> {
  let summary = "elements [offset, offset + size of the result) of the operand, under another shape";
  let description = [{
    A reshape, a slice that is contiguous in memory, or the same bits under another
    element type. No bytes move.

    - (C1) element types take as many bytes.
    - (C2) `offset` has one entry.
  }];
  let arguments = (ins LM_RankedTensor:$input, LM_SymValuesAttr:$offset);
  let results = (outs LM_RankedTensor:$result);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Kernel_GemmOp : Kernel_Op<"gemm", [AttrSizedOperandSegments]> {
  let summary = "activation(alpha x W + bias) + residual, W a packed constant";
  let description = [{
    x [..., k] -> [..., n]. Row r of the product reads element
    r * row_stride + row_offset of x onwards, where these are given, and has
    `rows` rows then; dense otherwise.

    - (C1) `weight` is packed in `layout`, which is panels or rows.
    - (C2) the last dimension of the result is n; without `row_stride`, the last
      dimension of x is k and the others are the result's.
    - (C3) `bias` is [n]; `residual` has the result's type.
    - (C4) `row_stride` and `row_offset` come together and have one entry each.
  }];
  let arguments = (ins LM_FloatTensor:$input, LM_RankedTensor:$weight, Optional<LM_FloatTensor>:$bias,
                       Optional<LM_FloatTensor>:$residual, I64Attr:$n, I64Attr:$k,
                       DefaultValuedAttr<F64Attr, "1.0">:$alpha,
                       DefaultValuedAttr<Kernel_ActivationAttr, "::llmopt::kernel::Activation::None">:$activation,
                       OptionalAttr<LM_SymValuesAttr>:$row_stride, OptionalAttr<LM_SymValuesAttr>:$row_offset,
                       DefaultValuedAttr<Kernel_LayoutAttr, "::llmopt::kernel::Layout::Panels">:$layout);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = [{
    $input `,` $weight (`bias` $bias^)? (`residual` $residual^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Kernel_QuantizeRowsOp : Kernel_Op<"quantize_rows"> {
  let summary = "symmetric int8 with one scale per row";
  let description = [{
    scale = max |x| / 127 over the last dimension, 1 for a row of zeros;
    q = round_half_even(x / scale), in [-127, 127]. A row that holds a NaN or an
    infinity has the scale NaN.

    - (C1) the operand is f32, f16 or bf16, has rank >= 1 and a static last dimension.
    - (C2) the first result has the operand's shape and is i8.
    - (C3) the second has the last dimension 1 and is f32.
  }];
  let arguments = (ins LM_FloatTensor:$input);
  let results = (outs LM_IntTensor:$result, LM_FloatTensor:$scale);
  let assemblyFormat = "$input attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Kernel_GemmS8Op : Kernel_Op<"gemm_s8", [AttrSizedOperandSegments]> {
  let summary = "activation((q W) input_scale weight_scale + bias) + residual, W packed int8";
  let description = [{
    q [..., k] -> [..., n]. Sums are exact int32, so that bits do not depend on the
    target up to there; then f32: sum * (input_scale * weight_scale), and what
    follows as in `kernel.gemm`. With a zero point, the sum is that of
    (q - input_zero_point) W: sum - input_zero_point * column_sums, in int32.

    - (C1) `weight` is i8, packed in `layout`.
    - (C2) `input` is i8, its last dimension is k, and the others are the result's.
    - (C3) `input_scale` has the result's dimensions but the last, which is 1; or it
      is one element, for all rows.
    - (C4) `weight_scale` and `bias` are [n]; `residual` has the result's type.
    - (C5) k is at most 131071: sums of products of bytes fit 32 bits; with a zero
      point 65793, for 255 * 128 * k does.
    - (C6) `input_zero_point` is one i8, and comes with `column_sums`, which are [n]
      i32 (`kernel.column_sums` of the weight).
  }];
  let arguments = (ins LM_IntTensor:$input, LM_FloatTensor:$input_scale,
                       Optional<LM_IntTensor>:$input_zero_point, Optional<LM_IntTensor>:$column_sums,
                       LM_RankedTensor:$weight,
                       LM_FloatTensor:$weight_scale, Optional<LM_FloatTensor>:$bias,
                       Optional<LM_FloatTensor>:$residual, Kernel_LayoutAttr:$layout, I64Attr:$n, I64Attr:$k,
                       DefaultValuedAttr<Kernel_ActivationAttr, "::llmopt::kernel::Activation::None">:$activation);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = [{
    $layout $input `scale` $input_scale (`zero_point` $input_zero_point^ `sums` $column_sums)? `,`
    $weight `scale` $weight_scale (`bias` $bias^)? (`residual` $residual^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Kernel_BatchedMatmulOp : Kernel_Op<"batched_matmul"> {
  let summary = "alpha times the matrix product of the last two dimensions; leading ones broadcast";
  let description = [{
    - (C1) operands have rank >= 2, the result the larger of their ranks.
    - (C2) the contracted dimensions are equal, where known.
  }];
  let arguments = (ins LM_FloatTensor:$lhs, LM_FloatTensor:$rhs,
                       DefaultValuedAttr<BoolAttr, "false">:$transpose_lhs,
                       DefaultValuedAttr<BoolAttr, "false">:$transpose_rhs,
                       DefaultValuedAttr<F64Attr, "1.0">:$alpha);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Kernel_AttentionOp : Kernel_Op<"attention", [AttrSizedOperandSegments]> {
  let summary = "scaled dot-product attention over token-major operands";
  let description = [{
    As `lm.attention`, but query, key and value may be columns of wider tensors:
    query is columns [q_offset, q_offset + num_heads head_dim) of its operand, key
    [k_offset, ...) and value [v_offset, ...) of theirs (which may be one tensor).

    - (C1) operands have rank 3, and their widths hold the columns.
    - (C2) `num_heads` is a multiple of `kv_num_heads`.
    - (C3) `mask` is present exactly when `mask_kind` is not none.
    - (C4) key and value have the query's type; or both are i8, each with scales [B, Sk, kv_num_heads],
      and stand for integers times the scale of their token and head.
  }];
  let arguments = (ins LM_FloatTensor:$query, LM_RankedTensor:$key, LM_RankedTensor:$value,
      Optional<LM_AnyTensor>:$mask, Optional<LM_FloatTensor>:$key_scale, Optional<LM_FloatTensor>:$value_scale,
      I64Attr:$num_heads, I64Attr:$kv_num_heads, I64Attr:$head_dim, I64Attr:$value_head_dim, I64Attr:$q_offset,
      I64Attr:$k_offset, I64Attr:$v_offset, F64Attr:$scale, LM_MaskKindAttr:$mask_kind,
      DefaultValuedAttr<BoolAttr, "false">:$causal, LM_FullyMaskedAttr:$fully_masked);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = [{
    $query `,` $key `,` $value (`mask` $mask^)? (`scales` $key_scale^ `,` $value_scale)? attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Kernel_KVAppendOp : Kernel_Op<"kv_append"> {
  let summary = "writes new tokens into a cache, behind the past ones";
  let description = [{
    As `lm.kv_append`. The result is the cache's own memory: token t of sequence b
    lies at (b C + t) W, not at (b (past + S) + t) W, which readers must know.

    - (C1) the cache is an argument with `lm.cache`, and appended to once.
    - (C2) the result is only read as key or value of `kernel.attention`, or as their scales.
  }];
  let arguments = (ins LM_RankedTensor:$cache, LM_RankedTensor:$input, LM_SymValuesAttr:$past);
  let results = (outs LM_RankedTensor:$result);
  let assemblyFormat = "$cache `,` $input attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Kernel_NormOp : Kernel_Op<"norm", [AttrSizedOperandSegments]> {
  let summary = "normalisation over the last dimension of input + residual + input_bias";
  let description = [{
    Gives the normalised value, and, with a second result, the sum itself.

    - (C1) `residual` has the type of `input`; `input_bias`, `scale` and `bias` are [H].
    - (C2) results have the type of `input`.
  }];
  let arguments = (ins LM_NormKindAttr:$kind, LM_FloatTensor:$input, Optional<LM_FloatTensor>:$residual,
                       Optional<LM_FloatTensor>:$input_bias, Optional<LM_FloatTensor>:$scale,
                       Optional<LM_FloatTensor>:$bias, F64Attr:$epsilon);
  let results = (outs LM_FloatTensor:$result, Optional<LM_FloatTensor>:$sum);
  let assemblyFormat = [{
    $kind $input (`residual` $residual^)? (`input_bias` $input_bias^)? (`scale` $scale^)? (`bias` $bias^)?
    attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Kernel_SoftmaxOp : Kernel_Op<"softmax"> {
  let summary = "softmax over the last dimension, or its logarithm";
  let arguments = (ins LM_FloatTensor:$input, DefaultValuedAttr<BoolAttr, "false">:$log);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

def Kernel_EmbedOp : Kernel_Op<"embed", [AttrSizedOperandSegments]> {
  let summary = "sum of rows of up to three tables, optionally normalised";
  let description = [{
    Row r of the result is the sum over t of tables[t][ids[t][r modulo the number of
    ids[t]]]: ids of one sequence serve every sequence of a batch. With `kind` the
    sum is normalised; with a second result it is given as well.

    - (C1) as many ids as tables, one to three; tables are [V, H] with one H.
    - (C2) the last dimension of the tables is static.
    - (C3) `scale` and `bias` only with `kind`.
  }];
  let arguments = (ins Variadic<LM_FloatTensor>:$tables, Variadic<LM_IntTensor>:$ids,
                       Optional<LM_FloatTensor>:$scale, Optional<LM_FloatTensor>:$bias,
                       OptionalAttr<LM_NormKindAttr>:$kind, DefaultValuedAttr<F64Attr, "0.0">:$epsilon);
  let results = (outs LM_FloatTensor:$result, Optional<LM_FloatTensor>:$sum);
  let assemblyFormat = [{
    `tables` `(` $tables `)` `ids` `(` $ids `)` (`scale` $scale^)? (`bias` $bias^)?
    attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Kernel_LoopsOp : Kernel_Op<"loops", [SingleBlock, IsolatedFromAbove, RecursiveMemoryEffects]> {
  let summary = "operations of the lm dialect as one loop nest";
  let description = [{
    The region computes the results from the operands without storing what lies
    between.

    - (C1) block arguments have the types of the operands.
    - (C2) the region holds operations of the lm dialect and ends in `kernel.yield`
      of values of the result types.
  }];
  let arguments = (ins Variadic<LM_RankedTensor>:$inputs);
  let results = (outs Variadic<LM_RankedTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
}

def Kernel_YieldOp : Kernel_Op<"yield", [Terminator, ReturnLike, ParentOneOf<["LoopsOp"]>]> {
  let summary = "the results of kernel.loops";
  let arguments = (ins Variadic<LM_RankedTensor>:$values);
  let assemblyFormat = "$values attr-dict `:` type($values)";
}

include "llmopt/Dialect/Kernel/IR/KernelControlOps.td"
include "llmopt/Dialect/Kernel/IR/KernelQuantOps.td"
include "llmopt/Dialect/Kernel/IR/KernelSymbolOps.td"
include "llmopt/Dialect/Kernel/IR/KernelTrainingOps.td"

#endif
