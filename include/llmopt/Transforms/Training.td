// Passes that turn an inference model into what trains it.
#ifndef LLMOPT_TRANSFORMS_TRAINING
#define LLMOPT_TRANSFORMS_TRAINING

include "mlir/Pass/PassBase.td"

def AttachHeadPass : Pass<"lm-attach-head", "::mlir::ModuleOp"> {
  let summary = "a head for a task, of new weights, instead of the outputs of @main";
  let description = [{
    @main returns hidden states [B, S, H]; after this it returns `logits` alone (or
    `embeddings`), x W^T + b by `classifier.weight` [count, H], drawn with standard
    deviation 0.02, and `classifier.bias`, zeros (of span: `qa_outputs`), the names that
    transformers has.

    - sequence, multilabel, regression: [B, count] of the pooled hidden states.
    - token: [B, S, count]. span: [B, S, 2].
    - embedding: the pooled hidden states, without new weights.

    `pool` cls takes the model's pooled output [B, H] where it has one, else the first
    token; first takes the first token; mean the mean of tokens that the input
    `attention_mask` has, or all without that input.

    The first f32 output of the rank that is wanted is taken. A model that has weights of
    these names has a head already: an error.
  }];
  let options = [
    Option<"kind", "kind", "std::string", "\"sequence\"", "sequence, token, span, multilabel, regression or embedding">,
    Option<"count", "count", "int64_t", "1", "Outputs of the head">,
    Option<"pool", "pool", "std::string", "\"cls\"", "cls, mean or first">,
    Option<"seed", "seed", "uint64_t", "0", "What new weights are drawn from">,
  ];
  let dependentDialects = ["::llmopt::lm::LMDialect", "::mlir::func::FuncDialect"];
}

def InsertLoRAPass : Pass<"lm-insert-lora", "::mlir::ModuleOp"> {
  let summary = "low-rank adapters beside linear layers";
  let description = [{
    y = x W + b becomes y + s (x A^T) B^T (Hu et al. 2022), s = alpha / rank, or alpha /
    sqrt(rank) with `rs` (Kalajdzievski 2023), for linear layers of @main whose name, or
    whose weight's, matches one of `targets`. A [rank, K] is drawn uniformly from
    +-1/sqrt(K), B [N, rank] is zeros: what comes out does not change. They are called
    `base_model.model.<layer>.lora_A.weight` and `lora_B`, as PEFT has it. Layers that
    share a weight share an adapter. A glob that matches nothing is an error that names
    near ones.

    The module gets `lm.lora`: rank, alpha, rs, and the names of the layers.
  }];
  let options = [
    Option<"rank", "rank", "int64_t", "8", "Rank of the adapters">,
    Option<"alpha", "alpha", "double", "16", "What scales them, with the rank">,
    Option<"rs", "rs", "bool", "false", "Scale by alpha / sqrt(rank)">,
    ListOption<"targets", "targets", "std::string", "Globs of layers or weights">,
    Option<"seed", "seed", "uint64_t", "0", "What new weights are drawn from">,
  ];
  let dependentDialects = ["::llmopt::lm::LMDialect", "::mlir::func::FuncDialect"];
}

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
    - causal: logits [B, S, V], `labels` [B, S]: cross entropy of each next label. With
      `chunk`, and logits that a linear layer gives, @gradients computes them for as many
      tokens at a time, with their gradients, and never holds more; @evaluate returns them.
    - bce: logits [B, C], `labels` [B, C] (f32): binary cross entropy, summed.
    - mse: predictions [B, C], `labels` [B, C] (f32): squared differences, summed.
    - span: logits [B, S, 2], `start_positions` and `end_positions` [B]; the mean of
      two cross entropies over S.
    - kl: logits [.., C], `teacher_logits` of the same shape: T^2 KL(teacher || model) at
      `temperature` T (Hinton et al. 2015).
    - contrastive: embeddings [B, H], `labels` [B]: rows of a batch with one label belong
      together, all others are negatives, of a row labelled -100 too, which is no anchor.
      With s the cosines over `temperature`, each row with partners has the mean over them
      of -log(e^s / sum over other rows of e^s) (NT-Xent of Chen et al. 2020 for pairs;
      Khosla et al. 2020).

    `trainable` lists globs of weight names; none: every float weight is trained, or
    where there are adapters, these and a new head alone. New weights train in any case.
    A glob that matches nothing is an error that names near ones.

    With `dropout` of 0 or more @gradients, and it alone, has lm.dropout behind the
    embeddings, behind every linear layer whose result is added to what went around it
    (attention and feed-forward outputs), and before the layer that gives the logits; not
    on attention's probabilities, which no tensor holds. `dropout` (the probability, by
    default what the option says), `seed` and `step` are hyper-parameters then: f32
    scalars of integers below 2^24; whoever trains counts `step` up with every batch.
  }];
  let options = [
    Option<"loss", "loss", "std::string", "\"cross_entropy\"", "cross_entropy, causal, bce, mse, span, kl or contrastive">,
    Option<"chunk", "chunk", "int64_t", "0", "Tokens whose logits exist at a time, of causal; 0: all">,
    Option<"dropout", "dropout", "double", "-1", "Default probability of dropout; negative: no dropout">,
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
