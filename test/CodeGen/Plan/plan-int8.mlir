// RUN: llmopt-opt %s --lm-plan | FileCheck %s
// RUN: llmopt-opt %s --lm-plan="int8=quads" | FileCheck %s --check-prefix=QUADS
// RUN: llmopt-opt %s --lm-plan="int8=none" | FileCheck %s --check-prefix=NONE
// RUN: not llmopt-opt %s --lm-plan="int8=columns" 2>&1 | FileCheck %s --check-prefix=BAD
// BAD: expected int8 to be panels, pairs, quads, rows or none, but got columns

!x = tensor<?x32xf32, #lm.dims<"n", 32>>
!xi = tensor<?x32xi8, #lm.dims<"n", 32>>
!s = tensor<?x1xf32, #lm.dims<"n", 1>>
!y = tensor<?x20xf32, #lm.dims<"n", 20>>

// One quantization serves both products; bias, activation and residual are fused.
// CHECK-LABEL: @shared
// CHECK: %[[Q:.*]], %[[S:.*]] = kernel.quantize_rows %arg0
// CHECK-NOT: kernel.quantize_rows
// CHECK: %[[T:.*]] = lm.transpose {{.*}} -> tensor<32x20xi8>
// CHECK: %[[P:.*]] = kernel.pack <panels> 16 %[[T]] {{.*}} -> tensor<2x32x16xi8>
// CHECK: %[[A:.*]] = kernel.gemm_s8 <panels> %[[Q]] scale %[[S]], %[[P]] scale {{.*}} {k = 32 : i64, n = 20 : i64}
// CHECK: kernel.gemm_s8 <panels> %[[Q]] scale %[[S]], {{.*}} bias {{.*}} residual %[[A]] {activation = #kernel.activation<gelu_erf>, k = 32 : i64, n = 20 : i64}
// CHECK-NOT: kernel.loops
// QUADS-LABEL: @shared
// QUADS: kernel.pack <quads> 16 {{.*}} -> tensor<2x9x64xi8>
// A target without the kernel multiplies what the integers stand for.
// NONE-LABEL: @shared
// NONE: kernel.loops
// NONE: lm.quantize
// NONE: kernel.gemm {{.*}} bias
func.func @shared(%x: !x) -> !y {
  %w = lm.weight "w" from (dense<1.0> : tensor<32x20xf32>) : tensor<32x20xf32>
  %v = lm.weight "v" from (dense<2.0> : tensor<20x32xf32>) : tensor<20x32xf32>
  %b = lm.weight "b" from (dense<1.0> : tensor<20xf32>) : tensor<20xf32>
  %s = lm.absmax_scale %x {axes = array<i64: 1>, qmax = 127.0 : f64} : (!x) -> !s
  %q = lm.quantize %x scale %s {narrow_range = true} : (!x, !s) -> !xi
  %d = lm.dequantize %q scale %s : (!xi, !s) -> !x
  %ws = lm.absmax_scale %w {axes = array<i64: 0>, qmax = 127.0 : f64} : (tensor<32x20xf32>) -> tensor<1x20xf32>
  %wq = lm.quantize %w scale %ws {narrow_range = true} : (tensor<32x20xf32>, tensor<1x20xf32>) -> tensor<32x20xi8>
  %wd = lm.dequantize %wq scale %ws : (tensor<32x20xi8>, tensor<1x20xf32>) -> tensor<32x20xf32>
  %vs = lm.absmax_scale %v {axes = array<i64: 1>, qmax = 127.0 : f64} : (tensor<20x32xf32>) -> tensor<20x1xf32>
  %vq = lm.quantize %v scale %vs {narrow_range = true} : (tensor<20x32xf32>, tensor<20x1xf32>) -> tensor<20x32xi8>
  %vd = lm.dequantize %vq scale %vs : (tensor<20x32xi8>, tensor<20x1xf32>) -> tensor<20x32xf32>
  %0 = lm.linear %d, %wd bias %b : (!x, tensor<32x20xf32>, tensor<20xf32>) -> !y
  %1 = lm.gelu #lm.gelu_kind<erf> %0 : (!y) -> !y
  %2 = lm.linear %d, %vd {transpose_weight = true} : (!x, tensor<20x32xf32>) -> !y
  %3 = lm.add %2, %1 : (!y, !y) -> !y
  return %3 : !y
}

// Not what kernel.quantize_rows computes: the whole range.
// CHECK-LABEL: @full_range
// CHECK-NOT: kernel.gemm_s8
// CHECK: kernel.gemm
func.func @full_range(%x: !x) -> !y {
  %w = lm.weight "w" from (dense<1.0> : tensor<32x20xf32>) : tensor<32x20xf32>
  %s = lm.absmax_scale %x {axes = array<i64: 1>, qmax = 127.0 : f64} : (!x) -> !s
  %q = lm.quantize %x scale %s : (!x, !s) -> !xi
  %d = lm.dequantize %q scale %s : (!xi, !s) -> !x
  %ws = lm.absmax_scale %w {axes = array<i64: 0>, qmax = 127.0 : f64} : (tensor<32x20xf32>) -> tensor<1x20xf32>
  %wq = lm.quantize %w scale %ws {narrow_range = true} : (tensor<32x20xf32>, tensor<1x20xf32>) -> tensor<32x20xi8>
  %wd = lm.dequantize %wq scale %ws : (tensor<32x20xi8>, tensor<1x20xf32>) -> tensor<32x20xf32>
  %0 = lm.linear %d, %wd : (!x, tensor<32x20xf32>) -> !y
  return %0 : !y
}
