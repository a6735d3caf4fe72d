// Logits of a language model exist for some tokens at a time, in one loop that computes
// their gradients, too.
// RUN: llmopt-opt %s -lm-build-training="loss=causal chunk=4" -canonicalize | FileCheck %s
// RUN: llmopt-opt %s -lm-build-training="loss=causal chunk=4 trainable=body" -canonicalize | FileCheck %s --check-prefix=FROZEN

// CHECK-LABEL: func.func @evaluate
// CHECK: -> tensor<?x?x9xf32
// CHECK-NOT: lm.loop
// CHECK-LABEL: func.func @gradients
// CHECK-NOT: tensor<?x?x9xf32
// CHECK: lm.loop trip
// CHECK-NOT: tensor<?x?x9xf32
// CHECK: lm.linear {{.*}} -> tensor<4x9xf32>
// CHECK: lm.matmul {{.*}} -> tensor<5x9xf32>
// CHECK: lm.yield
// CHECK-NOT: tensor<?x?x9xf32
// CHECK: return

// A frozen vocabulary has no gradient to sum up.
// FROZEN-LABEL: func.func @gradients
// FROZEN-NOT: tensor<?x?x9xf32
// FROZEN: lm.loop trip
// FROZEN-NOT: -> tensor<5x9xf32>
// FROZEN: return
func.func @main(%ids: tensor<?x?xi64, #lm.dims<"b", "s">> {lm.name = "input_ids"}) -> (tensor<?x?x9xf32, #lm.dims<"b", "s", 9>> {lm.name = "logits"}) {
  %t = lm.weight "body" from(dense<1.0> : tensor<9x5xf32>) : tensor<9x5xf32>
  %w = lm.weight "lm_head" from(dense<1.0> : tensor<5x9xf32>) : tensor<5x9xf32>
  %h = lm.embedding %t, %ids : (tensor<9x5xf32>, tensor<?x?xi64, #lm.dims<"b", "s">>) -> tensor<?x?x5xf32, #lm.dims<"b", "s", 5>>
  %y = lm.linear %h, %w : (tensor<?x?x5xf32, #lm.dims<"b", "s", 5>>, tensor<5x9xf32>) -> tensor<?x?x9xf32, #lm.dims<"b", "s", 9>>
  return %y : tensor<?x?x9xf32, #lm.dims<"b", "s", 9>>
}
