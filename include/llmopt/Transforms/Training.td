// Passes that turn an inference model into a training step.
#ifndef LLMOPT_TRANSFORMS_TRAINING
#define LLMOPT_TRANSFORMS_TRAINING

include "mlir/Pass/PassBase.td"

def BuildTrainingStepPass : Pass<"lm-build-training-step", "::mlir::ModuleOp"> {
  let summary = "@main of a classifier -> one SGD step: loss and updated weights";
  let description = [{
    The first result of @main must be logits [B, C]. The step takes the inputs of
    @main, `labels` [B] (i64) and every floating-point weight under its ONNX name,
    and returns `loss` (mean cross entropy) and the weights after
    w - learning_rate * dloss/dw, under the same names.
  }];
  let options = [
    Option<"learningRate", "learning-rate", "double", "0.01", "Step size of SGD">,
  ];
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

#endif
