// Passes that make quantization explicit.
#ifndef LLMOPT_TRANSFORMS_QUANTIZATION
#define LLMOPT_TRANSFORMS_QUANTIZATION

include "mlir/Pass/PassBase.td"

def QuantizeInt8Pass : Pass<"lm-quantize-int8", "::mlir::func::FuncOp"> {
  let summary = "linear layers in int8: per-channel weights, per-token dynamic activations";
  let description = [{
    Every lm.linear by a constant weight gets quantize/dequantize pairs on both
    sides, symmetric, without zero points: one scale per output channel of the
    weight (a recipe, computed when compiling), one per row of the activation
    (computed when running). No data is needed. Linear layers with fewer than
    `min-width` inputs or outputs stay in float: their accuracy costs more than
    their time.
  }];
  let options = [
    Option<"minWidth", "min-width", "int64_t", "16", "Smallest K and N that are quantized">,
  ];
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

#endif
