// RUN: llmopt-opt %s --lm-raise-linear | FileCheck %s

!x = tensor<?x?x4xf32, #lm.dims<"batch", "sequence", 4>>
!y = tensor<?x?x6xf32, #lm.dims<"batch", "sequence", 6>>

// CHECK-LABEL: @bias
// CHECK-DAG: %[[W:.*]] = lm.weight "w"
// CHECK-DAG: %[[B:.*]] = lm.weight "b"
// CHECK: %[[R:.*]] = lm.linear %arg0, %[[W]] bias %[[B]] :
// CHECK-NEXT: return %[[R]]
func.func @bias(%x: !x) -> !y {
  %w = lm.weight "w" from (dense<1.0> : tensor<4x6xf32>) : tensor<4x6xf32>
  %b = lm.weight "b" from (dense<[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]> : tensor<6xf32>) : tensor<6xf32>
  %0 = lm.matmul %x, %w : (!x, tensor<4x6xf32>) -> !y
  %1 = lm.add %b, %0 : (tensor<6xf32>, !y) -> !y
  return %1 : !y
}

// A transposed weight is read as it is stored.
// CHECK-LABEL: @transposed
// CHECK: %[[W:.*]] = lm.weight "w"
// CHECK-NEXT: lm.linear %arg0, %[[W]] {transpose_weight = true}
func.func @transposed(%x: !x) -> !y {
  %w = lm.weight "w" from (dense<1.0> : tensor<6x4xf32>) : tensor<6x4xf32>
  %t = lm.transpose %w {perm = array<i64: 1, 0>} : (tensor<6x4xf32>) -> tensor<4x6xf32>
  %0 = lm.matmul %x, %t : (!x, tensor<4x6xf32>) -> !y
  return %0 : !y
}

// Rank 2 for the sake of a Gemm, and back.
// CHECK-LABEL: @reshaped
// CHECK-NOT: lm.reshape
// CHECK: %[[R:.*]] = lm.linear %arg0, %{{.*}} bias %{{.*}}
// CHECK-NEXT: return %[[R]]
func.func @reshaped(%x: !x) -> !y {
  %w = lm.weight "w" from (dense<1.0> : tensor<4x6xf32>) : tensor<4x6xf32>
  %b = lm.weight "b" from (dense<[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]> : tensor<6xf32>) : tensor<6xf32>
  %flat = lm.reshape %x : (!x) -> tensor<?x4xf32, #lm.dims<"batch*sequence", 4>>
  %0 = lm.matmul %flat, %w : (tensor<?x4xf32, #lm.dims<"batch*sequence", 4>>, tensor<4x6xf32>) -> tensor<?x6xf32, #lm.dims<"batch*sequence", 6>>
  %1 = lm.reshape %0 : (tensor<?x6xf32, #lm.dims<"batch*sequence", 6>>) -> !y
  %2 = lm.add %1, %b : (!y, tensor<6xf32>) -> !y
  return %2 : !y
}

// A scalar is no bias, and neither is a sum of two activations.
// CHECK-LABEL: @no_bias
// CHECK: %[[L:.*]] = lm.linear %arg0, %{{[a-z0-9_]*}} :
// CHECK-NEXT: lm.add %[[L]]
// CHECK-NEXT: lm.add
func.func @no_bias(%x: !x, %y: !y) -> !y {
  %w = lm.weight "w" from (dense<1.0> : tensor<4x6xf32>) : tensor<4x6xf32>
  %c = lm.constant dense<0.5> : tensor<f32>
  %0 = lm.matmul %x, %w : (!x, tensor<4x6xf32>) -> !y
  %1 = lm.add %0, %c : (!y, tensor<f32>) -> !y
  %2 = lm.add %1, %y : (!y, !y) -> !y
  return %2 : !y
}

// Products of two activations, and a weight on the left, stay.
// CHECK-LABEL: @no_weight
// CHECK-NOT: lm.linear
func.func @no_weight(%x: tensor<4x4xf32>, %y: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %w = lm.weight "w" from (dense<1.0> : tensor<4x4xf32>) : tensor<4x4xf32>
  %0 = lm.matmul %x, %y : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  %1 = lm.matmul %w, %0 : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  return %1 : tensor<4x4xf32>
}
