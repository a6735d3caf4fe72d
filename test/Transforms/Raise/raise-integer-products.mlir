// RUN: llmopt-opt %s --lm-raise-integer-products | FileCheck %s

!x = tensor<?x4xf32, #lm.dims<"n", 4>>
!q = tensor<?x4xui8, #lm.dims<"n", 4>>
!i = tensor<?x4xi32, #lm.dims<"n", 4>>
!p = tensor<?x6xi32, #lm.dims<"n", 6>>
!y = tensor<?x6xf32, #lm.dims<"n", 6>>

// DynamicQuantizeLinear, MatMulInteger, Cast, Mul.
// CHECK-LABEL: @dynamic
// CHECK: %[[X:.*]] = lm.dequantize %arg0 scale %arg1 zero_point %arg2
// CHECK: %[[W:.*]] = lm.dequantize %{{.*}} scale %{{.*}} : (tensor<4x6xi8>, tensor<f32>)
// CHECK: lm.matmul %[[X]], %[[W]]
// CHECK-NOT: lm.mul
func.func @dynamic(%q: !q, %s: tensor<f32>, %z: tensor<ui8>) -> !y {
  %w = lm.weight "w" from (dense<3> : tensor<4x6xi8>) : tensor<4x6xi8>
  %ws = lm.constant dense<0.5> : tensor<f32>
  %0 = lm.cast %q : (!q) -> !i
  %1 = lm.cast %z : (tensor<ui8>) -> tensor<i32>
  %2 = lm.sub %0, %1 : (!i, tensor<i32>) -> !i
  %3 = lm.cast %w : (tensor<4x6xi8>) -> tensor<4x6xi32>
  %4 = lm.matmul %2, %3 : (!i, tensor<4x6xi32>) -> !p
  %5 = lm.cast %4 : (!p) -> !y
  %6 = lm.mul %s, %ws : (tensor<f32>, tensor<f32>) -> tensor<f32>
  %7 = lm.mul %5, %6 : (!y, tensor<f32>) -> !y
  return %7 : !y
}

// A weight whose zero point was taken off is one of bytes where its numbers fit.
// CHECK-LABEL: @folded
// CHECK: lm.constant dense<-128> : tensor<4x6xi8>
// CHECK: lm.matmul {{.*}} tensor<4x6xf32>
func.func @folded(%q: !q, %s: tensor<f32>, %z: tensor<ui8>) -> !y {
  %w = lm.constant dense<-128> : tensor<4x6xi32>
  %ws = lm.weight "ws" from (dense<0.5> : tensor<6xf32>) : tensor<6xf32>
  %0 = lm.cast %q : (!q) -> !i
  %1 = lm.cast %z : (tensor<ui8>) -> tensor<i32>
  %2 = lm.sub %0, %1 : (!i, tensor<i32>) -> !i
  %4 = lm.matmul %2, %w : (!i, tensor<4x6xi32>) -> !p
  %5 = lm.cast %4 : (!p) -> !y
  %6 = lm.mul %s, %ws : (tensor<f32>, tensor<6xf32>) -> tensor<6xf32>
  %7 = lm.mul %5, %6 : (!y, tensor<6xf32>) -> !y
  return %7 : !y
}

// Numbers that are no bytes stay integers, and so does a product that is read as such.
// CHECK-LABEL: @wide
// CHECK: lm.matmul {{.*}} tensor<4x6xi32>
func.func @wide(%q: !q, %s: tensor<f32>) -> !y {
  %w = lm.constant dense<-129> : tensor<4x6xi32>
  %0 = lm.cast %q : (!q) -> !i
  %4 = lm.matmul %0, %w : (!i, tensor<4x6xi32>) -> !p
  %5 = lm.cast %4 : (!p) -> !y
  %7 = lm.mul %5, %s : (!y, tensor<f32>) -> !y
  return %7 : !y
}

// CHECK-LABEL: @read_twice
// CHECK: lm.matmul {{.*}} tensor<4x6xi32>
func.func @read_twice(%q: !q, %s: tensor<f32>) -> (!y, !p) {
  %w = lm.weight "w" from (dense<3> : tensor<4x6xi8>) : tensor<4x6xi8>
  %0 = lm.cast %q : (!q) -> !i
  %3 = lm.cast %w : (tensor<4x6xi8>) -> tensor<4x6xi32>
  %4 = lm.matmul %0, %3 : (!i, tensor<4x6xi32>) -> !p
  %5 = lm.cast %4 : (!p) -> !y
  %7 = lm.mul %5, %s : (!y, tensor<f32>) -> !y
  return %7, %4 : !y, !p
}

// A bias in integers (QGemm).
// CHECK-LABEL: @integer_bias
// CHECK-DAG: lm.dequantize %{{.*}} : (tensor<6xi32>, tensor<f32>)
// CHECK: lm.matmul {{.*}} tensor<4x6xf32>
// CHECK: lm.add
func.func @integer_bias(%q: !q) -> !y {
  %w = lm.weight "w" from (dense<3> : tensor<4x6xi8>) : tensor<4x6xi8>
  %c = lm.weight "c" from (dense<3> : tensor<6xi32>) : tensor<6xi32>
  %s = lm.constant dense<0.5> : tensor<f32>
  %0 = lm.cast %q : (!q) -> !i
  %3 = lm.cast %w : (tensor<4x6xi8>) -> tensor<4x6xi32>
  %4 = lm.matmul %0, %3 : (!i, tensor<4x6xi32>) -> !p
  %b = lm.add %4, %c : (!p, tensor<6xi32>) -> !p
  %5 = lm.cast %b : (!p) -> !y
  %7 = lm.mul %5, %s : (!y, tensor<f32>) -> !y
  return %7 : !y
}
