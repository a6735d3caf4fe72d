// Passes that turn an inference model into what trains it.
#ifndef LLMOPT_TRANSFORMS_TRAINING
#define LLMOPT_TRANSFORMS_TRAINING

include "mlir/Pass/PassBase.td"

def BuildTrainingPass : Pass<"lm-build-training", "::mlir::ModuleOp"> {
  let summary = "@main -> @gradients and @evaluate beside it";
  let description = [{
    @gradients takes the inputs of @main, labels, hyper-parameters, and every trainable
    weight under its ONNX name; it returns `loss` (summed over labels that count),
    `loss_weight` (how many count), and for every trainable weight the gradient of
    `loss`, under the weight's name. Sums, not means: batches add up, and are divided
    once. @evaluate takes the same and returns `loss`, `loss_weight` and the first
    result of @main. @main stays as it is. Arguments carry `lm.role`: "label", "hyper"
    or "parameter"; hyper-parameters their default as `lm.default`.

    The first result of @main must be what the loss takes:

    - cross_entropy: logits [.., C], `labels` [..] (i64); -100 does not count.
      `label_smoothing` spreads that part of the target evenly (Szegedy et al. 2016).
    - causal: logits [B, S, V], `labels` [B, S]: cross entropy of each next label.
    - bce: logits [B, C], `labels` [B, C] (f32): binary cross entropy, summed.
    - mse: predictions [B, C], `labels` [B, C] (f32): squared differences, summed.
    - span: logits [B, S, 2], `start_positions` and `end_positions` [B]; the mean of
      two cross entropies over S.
    - kl: logits [.., C], `teacher_logits` of the same shape: T^2 KL(teacher || model) at
      `temperature` T (Hinton et al. 2015).

    `trainable` lists globs of weight names; none: every float weight is trained. A glob
    that matches nothing is an error that names near ones.
  }];
  let options = [
    Option<"loss", "loss", "std::string", "\"cross_entropy\"", "cross_entropy, causal, bce, mse, span or kl">,
    ListOption<"trainable", "trainable", "std::string", "Globs of the weights to train">,
  ];
  let dependentDialects = ["::llmopt::lm::LMDialect", "::mlir::func::FuncDialect"];
}

def RecomputePass : Pass<"lm-recompute", "::mlir::ModuleOp"> {
  let summary = "values of @gradients that are computed again instead of kept";
  let description = [{
    Behind the loss, uses of values of the forward pass that are not kept become uses
    of copies, made right before the first of them:

    - free: results of cheap operations (activations, norms, sums) whose operands are
      kept anyway. About one more elementwise pass per layer.
    - layers: everything between the narrowest places of the forward pass, which in a
      transformer are the tensors between blocks. About one more forward pass.
    - none: nothing.

    No common subexpressions may be merged behind this pass: it would undo it.
  }];
  let options = [Option<"mode", "mode", "std::string", "\"free\"", "none, free or layers">];
}

#endif
