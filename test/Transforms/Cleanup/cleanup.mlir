// RUN: llmopt-opt %s --lm-cleanup | FileCheck %s

!h = tensor<?x2x?x4xf32, #lm.dims<"b", 2, "s", 4>>
!k = tensor<?x2x4x?xf32, #lm.dims<"b", 2, 4, "s">>

// CHECK-LABEL: @transposes_compose
// CHECK-NEXT: lm.transpose %arg0 {perm = array<i64: 0, 2, 3, 1>}
// CHECK-NEXT: return
func.func @transposes_compose(%x: tensor<2x3x4x5xf32>) -> tensor<2x4x5x3xf32> {
  %0 = lm.transpose %x {perm = array<i64: 0, 2, 1, 3>} : (tensor<2x3x4x5xf32>) -> tensor<2x4x3x5xf32>
  %1 = lm.transpose %0 {perm = array<i64: 0, 1, 3, 2>} : (tensor<2x4x3x5xf32>) -> tensor<2x4x5x3xf32>
  return %1 : tensor<2x4x5x3xf32>
}

// A transpose of a dimension of size 1 moves nothing.
// CHECK-LABEL: @transpose_of_one
// CHECK-NEXT: lm.reshape %arg0
func.func @transpose_of_one(%x: tensor<2x1x4xf32>) -> tensor<2x4x1xf32> {
  %0 = lm.transpose %x {perm = array<i64: 0, 2, 1>} : (tensor<2x1x4xf32>) -> tensor<2x4x1xf32>
  return %0 : tensor<2x4x1xf32>
}

// CHECK-LABEL: @scale_behind_views
// CHECK: %[[T:.*]] = lm.transpose %arg0
// CHECK-NEXT: lm.mul %[[T]], %{{.*}}
func.func @scale_behind_views(%x: !h) -> !k {
  %c = lm.constant dense<8.0> : tensor<f32>
  %0 = lm.div %x, %c : (!h, tensor<f32>) -> !h
  %1 = lm.transpose %0 {perm = array<i64: 0, 1, 3, 2>} : (!h) -> !k
  return %1 : !k
}

// 1/3 is no float: the division stays. The square root of a power stays too.
// CHECK-LABEL: @inexact
// CHECK: lm.div
// CHECK: lm.pow
func.func @inexact(%x: tensor<4xf32>) -> tensor<4xf32> {
  %c = lm.constant dense<3.0> : tensor<f32>
  %h = lm.constant dense<0.5> : tensor<f32>
  %0 = lm.div %x, %c : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %1 = lm.pow %0, %h : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  return %1 : tensor<4xf32>
}

// CHECK-LABEL: @square
// CHECK-NEXT: lm.mul %arg0, %arg0
func.func @square(%x: tensor<4xf32>) -> tensor<4xf32> {
  %c = lm.constant dense<2.0> : tensor<f32>
  %0 = lm.pow %x, %c : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// CHECK-LABEL: @broadcast
// CHECK-NEXT: lm.add %arg0, %arg1
func.func @broadcast(%x: tensor<2x4xf32>, %y: tensor<4xf32>) -> tensor<2x4xf32> {
  %0 = lm.broadcast %y : (tensor<4xf32>) -> tensor<2x4xf32>
  %1 = lm.add %x, %0 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  return %1 : tensor<2x4xf32>
}

// Without the broadcast the sum would be smaller.
// CHECK-LABEL: @broadcast_needed
// CHECK-NEXT: lm.broadcast
func.func @broadcast_needed(%x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<2x4xf32> {
  %0 = lm.broadcast %y : (tensor<4xf32>) -> tensor<2x4xf32>
  %1 = lm.add %x, %0 : (tensor<4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  return %1 : tensor<2x4xf32>
}

// CHECK-LABEL: @gather_of_one
// CHECK-NEXT: %[[S:.*]] = lm.slice %arg0 {starts = #lm.sym<2, 0>
// CHECK-NEXT: lm.reshape %[[S]]
func.func @gather_of_one(%x: tensor<3x4xf32>) -> tensor<4xf32> {
  %i = lm.constant dense<-1> : tensor<i64>
  %0 = lm.gather %x, %i {axis = 0 : i64} : (tensor<3x4xf32>, tensor<i64>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// CHECK-LABEL: @where_of_not
// CHECK-NEXT: lm.where %arg0, %arg2, %arg1
func.func @where_of_not(%c: tensor<4xi1>, %x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<4xf32> {
  %n = lm.not %c : (tensor<4xi1>) -> tensor<4xi1>
  %0 = lm.where %n, %x, %y : (tensor<4xi1>, tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
