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

    With `fake` both sides are rounded by lm.fake_quantize instead, through which
    training can differentiate. Without, lm.fake_quantize that is there becomes
    quantize/dequantize pairs with the same scales; so does `lm-quantize-int4`.
  }];
  let options = [Option<"fake", "fake", "bool", "false", "Leave everything in float, rounded by lm.fake_quantize">,
                 Option<"minWidth", "min-width", "int64_t", "16", "Smallest K and N that are quantized">,
  ];
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

def QuantizeFp8Pass : Pass<"lm-quantize-fp8", "::mlir::func::FuncOp"> {
  let summary = "linear layers in e4m3: per-channel weights, per-token dynamic activations";
  let description = [{
    Every lm.linear by a constant weight gets quantize/dequantize pairs of f8E4M3FN
    on both sides (Micikevicius et al. 2022): one scale per output channel of the
    weight (a recipe, computed when compiling), one per row of the activation
    (computed when running), the largest magnitude becoming 448. No data is needed.
    Linear layers with fewer than `min-width` inputs or outputs stay in float.
  }];
  let options = [Option<"minWidth", "min-width", "int64_t", "16", "Smallest K and N that are quantized">];
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

def QuantizeInt4Pass : Pass<"lm-quantize-int4", "::mlir::func::FuncOp"> {
  let summary = "linear layers with int4 weights in groups: rounded to nearest";
  let description = [{
    Every lm.linear by a constant weight gets int4 values with one scale per output
    channel and `group` inputs (a recipe, computed when compiling). Its input
    becomes int8 with one scale per row and as many inputs (computed when
    running), or stays in float with `weights-only`. No data is needed. A layer whose
    inputs are no multiple of `group` stays in float, with a warning, and so, without
    one, do layers with fewer than `min-width` inputs or outputs.
  }];
  let options = [Option<"group", "group", "int64_t", "32", "Inputs that share a scale: 32, 64 or 128">,
                 Option<"weightsOnly", "weights-only", "bool", "false", "Leave inputs in float">,
                 Option<"fake", "fake", "bool", "false", "Leave everything in float, rounded by lm.fake_quantize">,
                 Option<"minWidth", "min-width", "int64_t", "16", "Smallest K and N that are quantized">,
  ];
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

#endif
