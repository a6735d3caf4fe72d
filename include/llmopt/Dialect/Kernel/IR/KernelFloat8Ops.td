// Operations of the kernel plan on floats of eight bits.
#ifndef LLMOPT_KERNEL_FLOAT8_OPS
#define LLMOPT_KERNEL_FLOAT8_OPS

include "llmopt/Dialect/Kernel/IR/KernelBase.td"

def Kernel_GemmF8Op : Kernel_Op<"gemm_f8", [AttrSizedOperandSegments]> {
  let summary = "activation((q W) input_scale weight_scale + bias) + residual, q and W e4m3";
  let description = [{
    q [..., k] -> [..., n], as `kernel.gemm_s8`: sums of exact products in f32, times
    input_scale * weight_scale.

    - (C1) `weight` is f8E4M3FN in rows (`kernel.pack`).
    - (C2) `input` is f8E4M3FN, its last dimension is k, and the others are the result's.
    - (C3) `input_scale` has the result's dimensions but the last, which is 1.
    - (C4) `weight_scale` and `bias` are [n]; `residual` has the result's type.
  }];
  let arguments = (ins LM_RankedTensor:$input, LM_FloatTensor:$input_scale, LM_RankedTensor:$weight,
                       LM_FloatTensor:$weight_scale, Optional<LM_FloatTensor>:$bias,
                       Optional<LM_FloatTensor>:$residual, I64Attr:$n, I64Attr:$k,
                       DefaultValuedAttr<Kernel_ActivationAttr, "::llmopt::kernel::Activation::None">:$activation);
  let results = (outs LM_FloatTensor:$result);
  let assemblyFormat = [{
    $input `scale` $input_scale `,` $weight `scale` $weight_scale (`bias` $bias^)? (`residual` $residual^)? attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

#endif
