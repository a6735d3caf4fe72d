// Passes over shapes.
#ifndef LLMOPT_TRANSFORMS_SHAPES
#define LLMOPT_TRANSFORMS_SHAPES

include "mlir/Pass/PassBase.td"

def InferShapesPass : Pass<"lm-infer-shapes", "::mlir::func::FuncOp"> {
  let summary = "infer result types again, from the types of the inputs";
  let description = [{
    Runs the inference of every operation in order and refines result types by
    what it finds: a dimension that was unknown or symbolic becomes what the
    operands say, a static one stays. The function's result types follow. With
    `pin`, dimensions of inputs are fixed first and their symbols replaced
    everywhere (pinInputShape).
  }];
  let options = [
    ListOption<"pin", "pin", "std::string", "Shapes of inputs to fix, as name:1x128">,
  ];
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

def VerifyLevelPass : Pass<"lm-verify-level", "::mlir::func::FuncOp"> {
  let summary = "check what holds between the passes of a level";
  let description = [{
    Level 0 (imported): one block that ends in a return, operations of the lm
    dialect only, every symbol bound by a dimension of an input, weights under
    distinct names. Level 1 (raised): the same, and no `lm.shape` of known shapes.
  }];
  let options = [
    Option<"level", "level", "int64_t", "0", "0: imported, 1: raised">,
  ];
}

#endif
