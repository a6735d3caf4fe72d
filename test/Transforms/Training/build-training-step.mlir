// A classifier becomes one SGD step: weights are arguments, and results.
// RUN: llmopt-opt %s -split-input-file -verify-diagnostics -lm-build-training-step=learning-rate=0.5 | FileCheck %s

// CHECK-LABEL: func.func @main
// CHECK-SAME: {lm.name = "x"}
// CHECK-SAME: {lm.name = "labels"}
// CHECK-SAME: tensor<4x3xf32> {lm.name = "w"}
// CHECK-SAME: -> (tensor<f32> {lm.name = "loss"}, tensor<4x3xf32> {lm.name = "w"})
// CHECK: lm.softmax {{.*}}log = true
// CHECK: %[[G:.*]] = lm.matmul
// CHECK: %[[STEP:.*]] = lm.mul %[[G]]
// CHECK: %[[NEW:.*]] = lm.sub %arg2, %[[STEP]]
// CHECK: return %{{.*}}, %[[NEW]]
func.func @main(%x: tensor<?x4xf32, #lm.dims<"n", 4>> {lm.name = "x"}) -> (tensor<?x3xf32, #lm.dims<"n", 3>> {lm.name = "logits"}) {
  %w = lm.weight "w" from(dense<1.0> : tensor<4x3xf32>) : tensor<4x3xf32>
  %y = lm.linear %x, %w : (tensor<?x4xf32, #lm.dims<"n", 4>>, tensor<4x3xf32>) -> tensor<?x3xf32, #lm.dims<"n", 3>>
  return %y : tensor<?x3xf32, #lm.dims<"n", 3>>
}

// -----

// What has no rule on an active path is named, with the path.
func.func @main(%x: tensor<2x4xf32> {lm.name = "x"}) -> (tensor<2x3xf32> {lm.name = "logits"}) {
  %w = lm.weight "w" from(dense<1.0> : tensor<4x3xf32>) : tensor<4x3xf32>
  %y = lm.linear %x, %w : (tensor<2x4xf32>, tensor<4x3xf32>) -> tensor<2x3xf32>
  // expected-error @+1 {{no gradient for lm.cum_prod on the path lm.cum_prod}}
  %z = lm.cum_prod %y {axis = 1 : i64, exclusive = false, reverse = false} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %z : tensor<2x3xf32>
}

// -----

// What a region reads of the values around it is active, too.
func.func @main(%x: tensor<2x4xf32> {lm.name = "x"}, %c: tensor<i1> {lm.name = "c"}) -> (tensor<2x3xf32> {lm.name = "logits"}) {
  %w = lm.weight "w" from(dense<1.0> : tensor<4x3xf32>) : tensor<4x3xf32>
  %y = lm.linear %x, %w : (tensor<2x4xf32>, tensor<4x3xf32>) -> tensor<2x3xf32>
  // expected-error @+1 {{no gradient for lm.if on the path lm.if}}
  %z = lm.if %c : (tensor<i1>) -> tensor<2x3xf32> {
    lm.yield %y : tensor<2x3xf32>
  } else {
    %n = lm.neg %y : (tensor<2x3xf32>) -> tensor<2x3xf32>
    lm.yield %n : tensor<2x3xf32>
  }
  return %z : tensor<2x3xf32>
}
