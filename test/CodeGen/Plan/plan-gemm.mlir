// Products with constant weights take in bias, activation and residual.
// RUN: llmopt-opt %s -lm-plan=panel-width=16 | llmopt-opt | FileCheck %s

!h = tensor<?x?x32xf32, #lm.dims<"batch", "sequence", 32>>
!row = tensor<?x1x32xf32, #lm.dims<"batch", 1, 32>>
!flat = tensor<?x32xf32, #lm.dims<"batch", 32>>

// CHECK-LABEL: func.func @activation
// CHECK: %[[W:.*]] = lm.weight "w"
// CHECK: %[[P:.*]] = kernel.pack <panels> 16 %[[W]] : (tensor<32x32xf32>) -> tensor<2x32x16xf32>
// CHECK: kernel.gemm %{{.*}}, %[[P]] bias %{{.*}} {activation = #kernel.activation<gelu_erf>, k = 32 : i64, n = 32 : i64}
// CHECK-NOT: lm.gelu
func.func @activation(%x: !h, %r: !h) -> !h {
  %w = lm.weight "w" from (dense<1.0> : tensor<32x32xf32>) : tensor<32x32xf32>
  %b = lm.weight "b" from (dense<1.0> : tensor<32xf32>) : tensor<32xf32>
  %0 = lm.linear %x, %w bias %b : (!h, tensor<32x32xf32>, tensor<32xf32>) -> !h
  %1 = lm.gelu #lm.gelu_kind<erf> %0 : (!h) -> !h
  return %1 : !h
}

// CHECK-LABEL: func.func @residual
// CHECK: kernel.gemm %{{.*}}, %{{.*}} residual %arg1
// CHECK-NOT: lm.add
func.func @residual(%x: !h, %r: !h) -> !h {
  %w = lm.weight "w" from (dense<1.0> : tensor<32x32xf32>) : tensor<32x32xf32>
  %0 = lm.matmul %x, %w : (!h, tensor<32x32xf32>) -> !h
  %1 = lm.add %r, %0 : (!h, !h) -> !h
  return %1 : !h
}

// The product is used twice: the addition stays its own kernel.
// CHECK-LABEL: func.func @two_uses
// CHECK: %[[P:.*]] = kernel.gemm
// CHECK-NOT: residual
// CHECK: kernel.loops (%{{.*}} = %{{.*}}, %{{.*}} = %{{.*}})
func.func @two_uses(%x: !h, %r: !h) -> (!h, !h) {
  %w = lm.weight "w" from (dense<1.0> : tensor<32x32xf32>) : tensor<32x32xf32>
  %0 = lm.matmul %x, %w : (!h, tensor<32x32xf32>) -> !h
  %1 = lm.add %r, %0 : (!h, !h) -> !h
  return %0, %1 : !h, !h
}

// The first token of every sequence is read where it lies.
// CHECK-LABEL: func.func @pooler
// CHECK-NOT: kernel.loops
// CHECK: kernel.gemm %arg0, %{{.*}} {activation = #kernel.activation<tanh>, k = 32 : i64, n = 32 : i64, row_offset = #lm.sym<0> : tensor<1xi64>, row_stride = #lm.sym<"32*sequence"> : tensor<1xi64>}
func.func @pooler(%x: !h) -> !flat {
  %w = lm.weight "w" from (dense<1.0> : tensor<32x32xf32>) : tensor<32x32xf32>
  %0 = lm.slice %x {starts = #lm.sym<0, 0, 0> : tensor<3xi64>, steps = array<i64: 1, 1, 1>} : (!h) -> !row
  %1 = lm.reshape %0 : (!row) -> !flat
  %2 = lm.linear %1, %w : (!flat, tensor<32x32xf32>) -> !flat
  %3 = lm.tanh %2 : (!flat) -> !flat
  return %3 : !flat
}

// CHECK-LABEL: func.func @behind_a_reshape
// CHECK: %[[G:.*]] = kernel.gemm {{.*}}activation = #kernel.activation<tanh>
// CHECK-NEXT: kernel.view %[[G]]
func.func @behind_a_reshape(%x: !row) -> !flat {
  %w = lm.weight "w" from (dense<1.0> : tensor<32x32xf32>) : tensor<32x32xf32>
  %0 = lm.linear %x, %w : (!row, tensor<32x32xf32>) -> !row
  %1 = lm.reshape %0 : (!row) -> !flat
  %2 = lm.tanh %1 : (!flat) -> !flat
  return %2 : !flat
}
