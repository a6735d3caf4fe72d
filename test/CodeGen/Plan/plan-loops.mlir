// What has no kernel of its own: clusters, views, recipes.
// RUN: llmopt-opt %s -lm-plan | llmopt-opt | FileCheck %s

!s = tensor<?x?xf32, #lm.dims<"batch", "sequence">>
!ids = tensor<?x?xi64, #lm.dims<"batch", "sequence">>
!m = tensor<?x1x1x?xf32, #lm.dims<"batch", 1, 1, "sequence">>

// One kernel, and the reshape of its result is a view.
// CHECK-LABEL: func.func @chain
// CHECK: %[[L:.*]] = kernel.loops (%[[A:.*]] = %arg0)
// CHECK-NEXT: lm.cast %[[A]]
// CHECK: lm.sub
// CHECK: lm.mul
// CHECK-NEXT: kernel.yield
// CHECK: kernel.view %[[L]] {offset = #lm.sym<0> : tensor<1xi64>}
func.func @chain(%ids: !ids) -> !m {
  %one = lm.constant dense<1.0> : tensor<f32>
  %big = lm.constant dense<-1.0e4> : tensor<f32>
  %0 = lm.cast %ids : (!ids) -> !s
  %1 = lm.sub %one, %0 : (tensor<f32>, !s) -> !s
  %2 = lm.mul %1, %big : (!s, tensor<f32>) -> !s
  %3 = lm.reshape %2 : (!s) -> !m
  return %3 : !m
}

// An expensive producer that a broadcast would compute over and over is stored.
// CHECK-LABEL: func.func @broadcast
// CHECK: %[[E:.*]] = kernel.loops
// CHECK: lm.exp
// CHECK: kernel.loops ({{.*}} = %[[E]],
// CHECK: lm.add
func.func @broadcast(%a: tensor<16xf32>, %x: tensor<64x16xf32>) -> tensor<64x16xf32> {
  %0 = lm.exp %a : (tensor<16xf32>) -> tensor<16xf32>
  %1 = lm.add %0, %x : (tensor<16xf32>, tensor<64x16xf32>) -> tensor<64x16xf32>
  return %1 : tensor<64x16xf32>
}

// A pool is one kernel: neither the padded image nor its windows are stored.
// CHECK-LABEL: func.func @pool
// CHECK: kernel.loops
// CHECK-NEXT: lm.constant
// CHECK-NEXT: lm.pad
// CHECK-NEXT: lm.windows
// CHECK-NEXT: lm.reduce <max>
// CHECK-NEXT: kernel.yield
// CHECK-NOT: kernel.loops
// CHECK: return
func.func @pool(%x: tensor<2x3x8xf32>) -> tensor<2x3x4xf32> {
  %low = lm.constant dense<0xFF800000> : tensor<f32>
  %0 = lm.pad %x, %low {low = #lm.sym<0, 0, 1> : tensor<3xi64>, high = #lm.sym<0, 0, 0> : tensor<3xi64>} : (tensor<2x3x8xf32>, tensor<f32>) -> tensor<2x3x9xf32>
  %1 = lm.windows %0 {axes = array<i64: 2>, sizes = array<i64: 3>, strides = array<i64: 2>, dilations = array<i64: 1>} : (tensor<2x3x9xf32>) -> tensor<2x3x4x3xf32>
  %2 = lm.reduce <max> %1 {axes = array<i64: 3>, keepdims = false} : (tensor<2x3x4x3xf32>) -> tensor<2x3x4xf32>
  return %2 : tensor<2x3x4xf32>
}

// What its windows would compute again and again is stored.
// CHECK-LABEL: func.func @pool_of_exp
// CHECK: %[[E:.*]] = kernel.loops
// CHECK: lm.exp
// CHECK: kernel.loops ({{.*}} = %[[E]])
// CHECK: lm.windows
func.func @pool_of_exp(%x: tensor<2x3x9xf32>) -> tensor<2x3x4xf32> {
  %0 = lm.exp %x : (tensor<2x3x9xf32>) -> tensor<2x3x9xf32>
  %1 = lm.windows %0 {axes = array<i64: 2>, sizes = array<i64: 3>, strides = array<i64: 2>, dilations = array<i64: 1>} : (tensor<2x3x9xf32>) -> tensor<2x3x4x3xf32>
  %2 = lm.reduce <max> %1 {axes = array<i64: 3>, keepdims = false} : (tensor<2x3x4x3xf32>) -> tensor<2x3x4xf32>
  return %2 : tensor<2x3x4xf32>
}

// Expressions over weights are left for the weights file.
// CHECK-LABEL: func.func @recipe
// CHECK: %[[C:.*]] = lm.concat
// CHECK: kernel.pack <panels> 16 %[[C]]
// CHECK-NOT: kernel.loops
func.func @recipe(%x: tensor<4x8xf32>) -> tensor<4x16xf32> {
  %a = lm.weight "a" from (dense<1.0> : tensor<8x8xf32>) : tensor<8x8xf32>
  %b = lm.weight "b" from (dense<2.0> : tensor<8x8xf32>) : tensor<8x8xf32>
  %c = lm.concat %a, %b {axis = 1 : i64} : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x16xf32>
  %0 = lm.matmul %x, %c : (tensor<4x8xf32>, tensor<8x16xf32>) -> tensor<4x16xf32>
  return %0 : tensor<4x16xf32>
}

// A contiguous slice of a stored value moves no bytes.
// CHECK-LABEL: func.func @slice
// CHECK: kernel.view %arg0 {offset = #lm.sym<32> : tensor<1xi64>}
// CHECK-NEXT: return
func.func @slice(%x: tensor<4x16xf32>) -> tensor<2x16xf32> {
  %0 = lm.slice %x {starts = #lm.sym<2, 0> : tensor<2xi64>, steps = array<i64: 1, 1>} : (tensor<4x16xf32>) -> tensor<2x16xf32>
  return %0 : tensor<2x16xf32>
}
