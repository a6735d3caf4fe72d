// Dropout where it stood in training, in @gradients alone.
// RUN: llmopt-opt %s -lm-build-training=dropout=0.1 | FileCheck %s
// RUN: llmopt-opt %s -lm-insert-lora=targets=*dense* -lm-build-training=dropout=0.1 | FileCheck %s --check-prefix=LORA
// RUN: llmopt-opt %s -lm-build-training | FileCheck %s --check-prefix=NONE

// NONE-NOT: lm.dropout
// NONE-NOT: "dropout"

// CHECK-LABEL: func.func @main
// CHECK-NOT: lm.dropout
// CHECK-LABEL: func.func @evaluate
// CHECK-NOT: lm.dropout
// CHECK-LABEL: func.func @gradients
// CHECK-SAME: %[[P:[a-z0-9]*]]: tensor<f32> {lm.default = 1.000000e-01 : f64, lm.name = "dropout", lm.role = "hyper"}
// CHECK-SAME: %[[SEED:[a-z0-9]*]]: tensor<f32> {lm.default = 0.000000e+00 : f64, lm.name = "seed", lm.role = "hyper"}
// CHECK-SAME: %[[STEP:[a-z0-9]*]]: tensor<f32> {lm.default = 0.000000e+00 : f64, lm.name = "step", lm.role = "hyper"}
// CHECK-DAG: %[[S:.*]] = lm.cast %[[SEED]] {{.*}} -> tensor<i64>
// CHECK-DAG: %[[T:.*]] = lm.cast %[[STEP]] {{.*}} -> tensor<i64>
// CHECK: %[[N:.*]] = lm.norm
// CHECK: %[[E:.*]] = lm.dropout %[[N]], %[[P]], %[[S]], %[[T]] {id = 0 : i64}
// CHECK: %[[D:.*]] = lm.linear %[[E]]
// CHECK: %[[F:.*]] = lm.dropout %[[D]], %[[P]], %[[S]], %[[T]] {id = 1 : i64}
// CHECK: %[[R:.*]] = lm.add %[[F]], %[[E]]
// CHECK: %[[C:.*]] = lm.dropout %[[R]], %[[P]], %[[S]], %[[T]] {id = 2 : i64}
// CHECK: lm.linear %[[C]]
// The same masks on the way back.
// CHECK: lm.dropout %{{.*}}, %[[P]], %[[S]], %[[T]] {id = 2 : i64}
// CHECK: lm.dropout %{{.*}}, %[[P]], %[[S]], %[[T]] {id = 1 : i64}
// CHECK: lm.dropout %{{.*}}, %[[P]], %[[S]], %[[T]] {id = 0 : i64}

// A layer and its adapter drop out together.
// LORA-LABEL: func.func @gradients
// LORA: %[[E:.*]] = lm.dropout {{.*}} {id = 0 : i64}
// LORA: %[[Y:.*]] = lm.linear %[[E]]
// LORA: %[[Z:.*]] = lm.add %[[Y]]
// LORA: %[[F:.*]] = lm.dropout %[[Z]], {{.*}} {id = 1 : i64}
// LORA: lm.add %[[F]], %[[E]]
func.func @main(%ids: tensor<2x3xi64> {lm.name = "input_ids"}, %positions: tensor<2x3xi64> {lm.name = "positions"})
    -> (tensor<2x3x2xf32> {lm.name = "logits"}) {
  %t = lm.weight "words" from(dense<1.0> : tensor<7x4xf32>) : tensor<7x4xf32>
  %u = lm.weight "places" from(dense<2.0> : tensor<7x4xf32>) : tensor<7x4xf32>
  %w = lm.weight "dense.weight" from(dense<1.0> : tensor<4x4xf32>) : tensor<4x4xf32>
  %c = lm.weight "classifier.weight" from(dense<1.0> : tensor<4x2xf32>) : tensor<4x2xf32>
  %0 = lm.embedding %t, %ids : (tensor<7x4xf32>, tensor<2x3xi64>) -> tensor<2x3x4xf32>
  %1 = lm.embedding %u, %positions : (tensor<7x4xf32>, tensor<2x3xi64>) -> tensor<2x3x4xf32>
  %2 = lm.add %0, %1 : (tensor<2x3x4xf32>, tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  %3 = lm.norm <layer> %2 {epsilon = 1.0e-12 : f64} : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  %4 = lm.linear %3, %w : (tensor<2x3x4xf32>, tensor<4x4xf32>) -> tensor<2x3x4xf32>
  %5 = lm.add %4, %3 : (tensor<2x3x4xf32>, tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  %6 = lm.linear %5, %c : (tensor<2x3x4xf32>, tensor<4x2xf32>) -> tensor<2x3x2xf32>
  return %6 : tensor<2x3x2xf32>
}
