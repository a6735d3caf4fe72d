// RUN: llmopt-opt %s -lm-plan | FileCheck %s
// Regions become functions; weights of both branches are repeated there, and
// copies stand only where a branch computes nothing of its own.

!x = tensor<?x8xf32, #lm.dims<"n", 8>>

// CHECK-LABEL: func.func @main
// CHECK: %[[R:.*]] = kernel.branch %{{.*}} then @main_then else @main_else(%{{.*}})
// CHECK: %[[L:.*]]:2 = kernel.repeat @main_body trip %{{.*}} init(%[[R]]) (
// CHECK-SAME: conditional = false
// CHECK-SAME: reverse_rows = array<i1: true>
// CHECK: return %[[L]]#0, %[[L]]#1
func.func @main(%flag: tensor<i1>, %x: !x) -> (!x, tensor<4x?x8xf32, #lm.dims<4, "n", 8>>) {
  %w = lm.weight "w" from(dense<0.5> : tensor<8x8xf32>) : tensor<8x8xf32>
  %r = lm.if %flag : (tensor<i1>) -> !x {
    %p = lm.linear %x, %w : (!x, tensor<8x8xf32>) -> !x
    lm.yield %p : !x
  } else {
    lm.yield %x : !x
  }
  %n = lm.constant dense<4> : tensor<i64>
  %s:2 = lm.loop trip %n init(%r) reverse [true] : (tensor<i64>, !x) -> (!x, tensor<4x?x8xf32, #lm.dims<4, "n", 8>>) {
  ^bb0(%i: tensor<i64>, %state: !x):
    %on = lm.constant dense<true> : tensor<i1>
    %p = lm.linear %state, %w : (!x, tensor<8x8xf32>) -> !x
    %next = lm.tanh %p : (!x) -> !x
    lm.yield %on, %next, %state : tensor<i1>, !x, !x
  }
  return %s#0, %s#1 : !x, tensor<4x?x8xf32, #lm.dims<4, "n", 8>>
}

// CHECK-LABEL: func.func private @main_then
// CHECK: lm.weight "w"
// CHECK: kernel.pack
// CHECK: kernel.gemm
// CHECK-LABEL: func.func private @main_else(%arg0
// CHECK: %[[C:.*]] = kernel.loops (%[[A:.*]] = %arg0)
// CHECK: return %[[C]]
// CHECK-LABEL: func.func private @main_body(%arg0: tensor<i64>, %arg1
// CHECK: lm.weight "w"
// CHECK: %[[G:.*]] = kernel.gemm %arg1
// CHECK-SAME: activation = #kernel.activation<tanh>
// CHECK: return %[[G]], %arg1
