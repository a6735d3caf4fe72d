// Adapters beside the layers that are named, and what they leave of the backward pass.
// RUN: llmopt-opt %s -lm-insert-lora="rank=2 alpha=8 targets=*query* seed=3" | FileCheck %s
// RUN: llmopt-opt %s -lm-insert-lora="rank=4 alpha=8 targets=*query*,*value* rs=true" | FileCheck %s --check-prefix=RS
// RUN: not llmopt-opt %s -lm-insert-lora="targets=*qury*" 2>&1 | FileCheck %s --check-prefix=GLOB
// RUN: llmopt-opt %s -lm-insert-lora="rank=2 alpha=8 targets=*query*" -lm-build-training=loss=mse -cse -canonicalize | FileCheck %s --check-prefix=GRAD

// CHECK: module attributes {lm.lora = {alpha = 8.000000e+00 : f64, layers = ["body.query"], rank = 2 : i64, rs = false}}
// CHECK: %[[W:.*]] = lm.weight "body.query.weight"
// CHECK: %[[A:.*]] = lm.weight "base_model.model.body.query.lora_A.weight" from(#lm.drawn<uniform, 5.000000e-01 : f64, 3>) {lm.trained = "adapter"} : tensor<2x4xf32>
// CHECK: %[[B:.*]] = lm.weight "base_model.model.body.query.lora_B.weight" from(#lm.drawn<zeros, 0.000000e+00 : f64, 3>) {lm.trained = "adapter"} : tensor<6x2xf32>
// CHECK: %[[Y:.*]] = lm.linear %[[X:.*]], %[[W]]
// CHECK: %[[L:.*]] = lm.linear %[[X]], %[[A]] {transpose_weight = true}
// CHECK: %[[S:.*]] = lm.constant dense<4.000000e+00>
// CHECK: %[[M:.*]] = lm.mul %[[L]], %[[S]]
// CHECK: %[[H:.*]] = lm.linear %[[M]], %[[B]] {transpose_weight = true}
// CHECK: %[[Z:.*]] = lm.add %[[Y]], %[[H]]
// CHECK: lm.linear %[[Z]]

// RS: lm.constant dense<4.000000e+00>
// RS: "base_model.model.body.value.lora_A.weight"
// GLOB: -lora: no linear layer matches '*qury*'; near names are body.query

// Only adapters are arguments. Nothing goes below the adapted layer: no gradient of its
// input or of its weight; of the layer behind, only that of its input.
// GRAD-LABEL: func.func @gradients
// GRAD-SAME: tensor<2x4xf32> {lm.name = "base_model.model.body.query.lora_A.weight", lm.role = "parameter"}
// GRAD-SAME: tensor<6x2xf32> {lm.name = "base_model.model.body.query.lora_B.weight", lm.role = "parameter"}
// GRAD-NOT: lm.role = "parameter"
// GRAD-SAME: {lm.name = "loss_weight"}
// GRAD-DAG: %[[FIRST:.*]] = lm.weight "body.first.weight"
// GRAD-DAG: %[[QUERY:.*]] = lm.weight "body.query.weight"
// GRAD-DAG: %[[VALUE:.*]] = lm.weight "body.value.weight"
// GRAD: lm.linear %{{.*}}, %[[FIRST]] :
// GRAD: lm.linear %{{.*}}, %[[QUERY]] :
// GRAD: lm.linear %{{.*}}, %[[VALUE]] :
// GRAD: lm.linear %{{.*}}, %[[VALUE]] {transpose_weight = true}
// GRAD-COUNT-2: lm.matmul
// GRAD-NOT: lm.matmul
// GRAD-NOT: , %[[FIRST]] {{[:{]}}
// GRAD-NOT: , %[[QUERY]] {{[:{]}}
// GRAD: return
func.func @main(%x: tensor<5x4xf32> {lm.name = "x"}) -> (tensor<5x3xf32> {lm.name = "y"}) {
  %f = lm.weight "body.first.weight" from(dense<[[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]]> : tensor<4x4xf32>) : tensor<4x4xf32>
  %q = lm.weight "body.query.weight" from(dense<1.0> : tensor<4x6xf32>) : tensor<4x6xf32>
  %v = lm.weight "body.value.weight" from(dense<1.0> : tensor<6x3xf32>) : tensor<6x3xf32>
  %0 = lm.linear %x, %f : (tensor<5x4xf32>, tensor<4x4xf32>) -> tensor<5x4xf32>
  %1 = lm.linear %0, %q : (tensor<5x4xf32>, tensor<4x6xf32>) -> tensor<5x6xf32>
  %2 = lm.linear %1, %v : (tensor<5x6xf32>, tensor<6x3xf32>) -> tensor<5x3xf32>
  return %2 : tensor<5x3xf32>
}
