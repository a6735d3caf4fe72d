// A classifier gets @gradients and @evaluate: weights are arguments there, and gradients results.
// RUN: llmopt-opt %s -split-input-file -verify-diagnostics -lm-build-training | FileCheck %s
// RUN: llmopt-opt %s -split-input-file -verify-diagnostics -lm-build-training=trainable=head.* 2>/dev/null | FileCheck %s --check-prefix=HEAD

// CHECK-LABEL: func.func @main
// CHECK: lm.weight "head.w"
// CHECK-LABEL: func.func @evaluate
// CHECK-SAME: -> (tensor<f32> {lm.name = "loss"}, tensor<f32> {lm.name = "loss_weight"}, tensor<?x3xf32, #lm.dims<"n", 3>> {lm.name = "logits"})
// CHECK-NOT: lm.weight
// CHECK-LABEL: func.func @gradients
// CHECK-SAME: {lm.name = "x"}
// CHECK-SAME: tensor<?xi64, #lm.dims<"n">> {lm.classes = #lm.sym<3> : tensor<1xi64>, lm.name = "labels", lm.role = "label"}
// CHECK-SAME: tensor<f32> {lm.default = 0.000000e+00 : f64, lm.name = "label_smoothing", lm.role = "hyper"}
// CHECK-SAME: tensor<4x4xf32> {lm.name = "body.w", lm.role = "parameter"}
// CHECK-SAME: tensor<4x3xf32> {lm.name = "head.w", lm.role = "parameter"}
// CHECK-SAME: tensor<4x4xf32> {lm.name = "body.w"}, tensor<4x3xf32> {lm.name = "head.w"})
// CHECK: lm.softmax {{.*}}log = true

// What is frozen stays a weight, and gets no gradient.
// HEAD-LABEL: func.func @gradients
// HEAD-SAME: {lm.name = "loss_weight"}, tensor<4x3xf32> {lm.name = "head.w"})
// HEAD: lm.weight "body.w"
// HEAD-NOT: lm.weight "head.w"
func.func @main(%x: tensor<?x4xf32, #lm.dims<"n", 4>> {lm.name = "x"}) -> (tensor<?x3xf32, #lm.dims<"n", 3>> {lm.name = "logits"}) {
  %b = lm.weight "body.w" from(dense<1.0> : tensor<4x4xf32>) : tensor<4x4xf32>
  %w = lm.weight "head.w" from(dense<1.0> : tensor<4x3xf32>) : tensor<4x3xf32>
  %h = lm.linear %x, %b : (tensor<?x4xf32, #lm.dims<"n", 4>>, tensor<4x4xf32>) -> tensor<?x4xf32, #lm.dims<"n", 4>>
  %y = lm.linear %h, %w : (tensor<?x4xf32, #lm.dims<"n", 4>>, tensor<4x3xf32>) -> tensor<?x3xf32, #lm.dims<"n", 3>>
  return %y : tensor<?x3xf32, #lm.dims<"n", 3>>
}
