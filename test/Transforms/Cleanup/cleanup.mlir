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

// An assignment to all of a tensor: every index in order.
// CHECK-LABEL: @scatter_of_all
// CHECK-NEXT: return %arg1
!wide = tensor<?x1x?xf32, #lm.dims<"b", 1, "s">>
!index = tensor<?x1x?x1xi64, #lm.dims<"b", 1, "s", 1>>
func.func @scatter_of_all(%x: !wide, %y: !wide) -> !wide {
  %zero = lm.constant dense<0> : tensor<1xi64>
  %0 = lm.iota {axis = 0 : i64} : () -> tensor<?xi64, #lm.dims<"b">>
  %1 = lm.reshape %0 : (tensor<?xi64, #lm.dims<"b">>) -> tensor<?x1x1x1xi64, #lm.dims<"b", 1, 1, 1>>
  %2 = lm.broadcast %1 : (tensor<?x1x1x1xi64, #lm.dims<"b", 1, 1, 1>>) -> !index
  %3 = lm.broadcast %zero : (tensor<1xi64>) -> !index
  %4 = lm.iota {axis = 0 : i64} : () -> tensor<?xi64, #lm.dims<"s">>
  %5 = lm.reshape %4 : (tensor<?xi64, #lm.dims<"s">>) -> tensor<?x1xi64, #lm.dims<"s", 1>>
  %6 = lm.broadcast %5 : (tensor<?x1xi64, #lm.dims<"s", 1>>) -> !index
  %7 = lm.concat %2, %3, %6 {axis = 3 : i64} : (!index, !index, !index) -> tensor<?x1x?x3xi64, #lm.dims<"b", 1, "s", 3>>
  %8 = lm.scatter_nd <none> %x, %7, %y : (!wide, tensor<?x1x?x3xi64, #lm.dims<"b", 1, "s", 3>>, !wide) -> !wide
  return %8 : !wide
}

// The first two of three: the rest stays.
// CHECK-LABEL: @scatter_of_some
// CHECK: lm.scatter_nd
func.func @scatter_of_some(%x: tensor<3xf32>, %y: tensor<2xf32>) -> tensor<3xf32> {
  %0 = lm.iota {axis = 0 : i64} : () -> tensor<2x1xi64>
  %1 = lm.scatter_nd <none> %x, %0, %y : (tensor<3xf32>, tensor<2x1xi64>, tensor<2xf32>) -> tensor<3xf32>
  return %1 : tensor<3xf32>
}

// Indices along the other dimension transpose.
// CHECK-LABEL: @scatter_transposed
// CHECK: lm.scatter_nd
func.func @scatter_transposed(%x: tensor<?x?xf32, #lm.dims<"s", "s">>, %y: tensor<?x?xf32, #lm.dims<"s", "s">>) -> tensor<?x?xf32, #lm.dims<"s", "s">> {
  %0 = lm.iota {axis = 0 : i64} : () -> tensor<?x?x1xi64, #lm.dims<"s", "s", 1>>
  %1 = lm.iota {axis = 1 : i64} : () -> tensor<?x?x1xi64, #lm.dims<"s", "s", 1>>
  %2 = lm.concat %1, %0 {axis = 2 : i64} : (tensor<?x?x1xi64, #lm.dims<"s", "s", 1>>, tensor<?x?x1xi64, #lm.dims<"s", "s", 1>>) -> tensor<?x?x2xi64, #lm.dims<"s", "s", 2>>
  %3 = lm.scatter_nd <none> %x, %2, %y : (tensor<?x?xf32, #lm.dims<"s", "s">>, tensor<?x?x2xi64, #lm.dims<"s", "s", 2>>, tensor<?x?xf32, #lm.dims<"s", "s">>) -> tensor<?x?xf32, #lm.dims<"s", "s">>
  return %3 : tensor<?x?xf32, #lm.dims<"s", "s">>
}
