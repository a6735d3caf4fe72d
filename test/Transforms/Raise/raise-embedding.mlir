// RUN: llmopt-opt %s --lm-raise-embedding | FileCheck %s

// CHECK-LABEL: @rows
// CHECK: lm.embedding %{{.*}}, %arg0
func.func @rows(%ids: tensor<2x3xi64>) -> tensor<2x3x4xf32> {
  %t = lm.weight "t" from (dense<1.0> : tensor<10x4xf32>) : tensor<10x4xf32>
  %0 = lm.gather %t, %ids {axis = 0 : i64} : (tensor<10x4xf32>, tensor<2x3xi64>) -> tensor<2x3x4xf32>
  return %0 : tensor<2x3x4xf32>
}

// Columns, an activation and integers stay.
// CHECK-LABEL: @others
// CHECK-COUNT-3: lm.gather
// CHECK-NOT: lm.embedding
func.func @others(%ids: tensor<3xi64>, %x: tensor<10x4xf32>) -> (tensor<10x3xf32>, tensor<3x4xf32>, tensor<3x4xi64>) {
  %t = lm.weight "t" from (dense<1.0> : tensor<10x4xf32>) : tensor<10x4xf32>
  %i = lm.weight "i" from (dense<[[1, 2, 3, 4], [5, 6, 7, 8]]> : tensor<2x4xi64>) : tensor<2x4xi64>
  %0 = lm.gather %t, %ids {axis = 1 : i64} : (tensor<10x4xf32>, tensor<3xi64>) -> tensor<10x3xf32>
  %1 = lm.gather %x, %ids {axis = 0 : i64} : (tensor<10x4xf32>, tensor<3xi64>) -> tensor<3x4xf32>
  %2 = lm.gather %i, %ids {axis = 0 : i64} : (tensor<2x4xi64>, tensor<3xi64>) -> tensor<3x4xi64>
  return %0, %1, %2 : tensor<10x3xf32>, tensor<3x4xf32>, tensor<3x4xi64>
}
