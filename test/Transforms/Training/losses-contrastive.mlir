// Rows of a batch that share a label are drawn together, all others apart.
// RUN: llmopt-opt %s -lm-build-training=loss=contrastive | FileCheck %s

// CHECK: func.func @gradients
// CHECK-SAME: tensor<?xi64, #lm.dims<"b">> {lm.name = "labels", lm.role = "label"}
// CHECK-SAME: tensor<f32> {lm.default = 5.000000e-02 : f64, lm.name = "temperature", lm.role = "hyper"}
func.func @main(%x: tensor<?x4xf32, #lm.dims<"b", 4>> {lm.name = "x"}) -> (tensor<?x2xf32, #lm.dims<"b", 2>> {lm.name = "embeddings"}) {
  %w = lm.weight "dense.weight" from(dense<1.0> : tensor<4x2xf32>) : tensor<4x2xf32>
  %y = lm.linear %x, %w : (tensor<?x4xf32, #lm.dims<"b", 4>>, tensor<4x2xf32>) -> tensor<?x2xf32, #lm.dims<"b", 2>>
  return %y : tensor<?x2xf32, #lm.dims<"b", 2>>
}
