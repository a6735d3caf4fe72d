// A headless encoder gets a head: pooling, and a layer of weights that are drawn.
// RUN: llmopt-opt %s -lm-attach-head="kind=sequence count=3 pool=mean seed=7" | FileCheck %s --check-prefix=MEAN
// RUN: llmopt-opt %s -lm-attach-head="kind=sequence count=3" | FileCheck %s --check-prefix=CLS
// RUN: llmopt-opt %s -lm-attach-head="kind=regression pool=first" | FileCheck %s --check-prefix=FIRST
// RUN: llmopt-opt %s -lm-attach-head="kind=multilabel count=5 pool=first" | FileCheck %s --check-prefix=MULTI
// RUN: llmopt-opt %s -lm-attach-head="kind=token count=9" | FileCheck %s --check-prefix=TOKEN
// RUN: llmopt-opt %s -lm-attach-head="kind=span" | FileCheck %s --check-prefix=SPAN
// RUN: llmopt-opt %s -lm-attach-head="kind=embedding pool=mean" | FileCheck %s --check-prefix=EMBED
// RUN: not llmopt-opt %s -lm-attach-head="kind=tagger" 2>&1 | FileCheck %s --check-prefix=KIND
// RUN: llmopt-opt %s -lm-attach-head="kind=sequence count=3" | not llmopt-opt -lm-attach-head="kind=sequence count=3" 2>&1 | FileCheck %s --check-prefix=TWICE

// MEAN: func.func @main
// MEAN-SAME: -> (tensor<?x3xf32, #lm.dims<"b", 3>> {lm.name = "logits"})
// MEAN: %[[C:.*]] = lm.cast %arg1
// MEAN: %[[M:.*]] = lm.reshape %[[C]]
// MEAN: %[[P:.*]] = lm.mul %{{.*}}, %[[M]]
// MEAN: %[[S:.*]] = lm.reduce <sum> %[[P]] {axes = array<i64: 1>
// MEAN: lm.reduce <sum> %[[M]] {axes = array<i64: 1>
// MEAN: lm.max
// MEAN: %[[H:.*]] = lm.div %[[S]]
// MEAN: %[[W:.*]] = lm.weight "classifier.weight" from(#lm.drawn<normal, 2.000000e-02 : f64, 7>) {lm.trained = "head"} : tensor<3x4xf32>
// MEAN: %[[B:.*]] = lm.weight "classifier.bias" from(#lm.drawn<zeros, 0.000000e+00 : f64, 7>) {lm.trained = "head"} : tensor<3xf32>
// MEAN: lm.linear %[[H]], %[[W]] bias %[[B]] {transpose_weight = true}

// The model's own pooled output, where it has one.
// CLS: lm.linear %{{.*}}, %{{.*}} bias %{{.*}} {transpose_weight = true} : (tensor<?x4xf32
// CLS-NOT: lm.slice
// CLS: return

// FIRST: -> (tensor<?x1xf32, #lm.dims<"b", 1>> {lm.name = "logits"})
// FIRST: lm.slice {{.*}}starts = #lm.sym<0, 0, 0>

// MULTI: -> (tensor<?x5xf32, #lm.dims<"b", 5>> {lm.name = "logits"})
// TOKEN: -> (tensor<?x?x9xf32, #lm.dims<"b", "s", 9>> {lm.name = "logits"})
// SPAN: -> (tensor<?x?x2xf32, #lm.dims<"b", "s", 2>> {lm.name = "logits"})
// SPAN: lm.weight "qa_outputs.weight" from(#lm.drawn<normal
// EMBED: -> (tensor<?x4xf32, #lm.dims<"b", 4>> {lm.name = "embeddings"})
// EMBED-NOT: lm.drawn
// KIND: expected a head sequence, token, span, multilabel, regression or embedding of 1 output or more, pooled by cls, mean or first, but got tagger of 1, pooled by cls
// TWICE: expected a model without a head, but it has a weight 'classifier.weight'
func.func @main(%ids: tensor<?x?xi64, #lm.dims<"b", "s">> {lm.name = "input_ids"},
                %mask: tensor<?x?xi64, #lm.dims<"b", "s">> {lm.name = "attention_mask"})
    -> (tensor<?x?x4xf32, #lm.dims<"b", "s", 4>> {lm.name = "last_hidden_state"}, tensor<?x4xf32, #lm.dims<"b", 4>> {lm.name = "pooler_output"}) {
  %w = lm.weight "embeddings.weight" from(dense<1.0> : tensor<7x4xf32>) : tensor<7x4xf32>
  %h = lm.embedding %w, %ids : (tensor<7x4xf32>, tensor<?x?xi64, #lm.dims<"b", "s">>) -> tensor<?x?x4xf32, #lm.dims<"b", "s", 4>>
  %p = lm.reduce <max> %h {axes = array<i64: 1>, keepdims = false} : (tensor<?x?x4xf32, #lm.dims<"b", "s", 4>>) -> tensor<?x4xf32, #lm.dims<"b", 4>>
  return %h, %p : tensor<?x?x4xf32, #lm.dims<"b", "s", 4>>, tensor<?x4xf32, #lm.dims<"b", 4>>
}
