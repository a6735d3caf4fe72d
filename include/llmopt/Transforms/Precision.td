// Passes over the element types that a model computes in.
#ifndef LLMOPT_TRANSFORMS_PRECISION
#define LLMOPT_TRANSFORMS_PRECISION

include "mlir/Pass/PassBase.td"

def MixedPrecisionPass : Pass<"lm-mixed-precision", "::mlir::func::FuncOp"> {
  let summary = "products, attention, norms and what lies between them in f16 or bf16";
  let description = [{
    Mixed precision in the sense of Micikevicius et al. 2018, for inference: f32
    operations that dominate time and memory (lm.linear, lm.matmul, lm.attention,
    lm.embedding, lm.norm, lm.kv_append) take and give `type`; their weights become
    casts, which run when the weights file is written. Elementwise operations and
    views follow when all that they read is narrow already, or a constant that `type`
    holds. Everything else stays f32 behind casts: masks, positions, softmax written
    out, reductions, and the function's inputs and results. A linear layer of quantized
    operands stays as it is, too, but for its result.
    Sums inside of an operation are f32 by the definition of the operation; scales
    and biases of norms stay f32, too.

    An operation whose weights or constants hold a finite value that `type` does not
    (beyond 65504 for f16) stays f32, and is named in a remark. It is an error when
    nothing is left to convert.
  }];
  let options = [
    Option<"type", "type", "std::string", "\"f16\"", "f16 or bf16">,
  ];
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

#endif
