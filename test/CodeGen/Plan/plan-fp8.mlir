// RUN: llmopt-opt %s --lm-quantize-fp8 --lm-plan="quantized-rows" | FileCheck %s
// RUN: llmopt-opt %s --lm-quantize-fp8 --lm-plan | FileCheck %s --check-prefix=NONE

!x = tensor<?x32xf32, #lm.dims<"n", 32>>
!h = tensor<?x32xf16, #lm.dims<"n", 32>>
!y = tensor<?x20xf32, #lm.dims<"n", 20>>

// Rows and weight in e4m3; what follows is the kernel's.
// CHECK-LABEL: @both
// CHECK: %[[Q:.*]], %[[S:.*]] = kernel.quantize_rows %arg0 : {{.*}} -> (tensor<?x32xf8E4M3FN
// CHECK: %[[T:.*]] = lm.transpose {{.*}} -> tensor<32x20xf8E4M3FN>
// CHECK: %[[P:.*]] = kernel.pack <rows> 16 %[[T]] {{.*}} -> tensor<20x2x16xf8E4M3FN>
// CHECK: kernel.gemm_f8 %[[Q]] scale %[[S]], %[[P]] scale %{{.*}} bias %{{.*}} {activation = #kernel.activation<relu>, k = 32 : i64, n = 20 : i64}
// CHECK-NOT: kernel.loops
// A target without such products multiplies what the numbers stand for.
// NONE-LABEL: @both
// NONE: kernel.loops
// NONE: kernel.gemm {{.*}} bias
func.func @both(%x: !x) -> !y {
  %w = lm.weight "w" from (dense<1.0> : tensor<20x32xf32>) : tensor<20x32xf32>
  %b = lm.weight "b" from (dense<1.0> : tensor<20xf32>) : tensor<20xf32>
  %0 = lm.linear %x, %w bias %b {transpose_weight = true} : (!x, tensor<20x32xf32>, tensor<20xf32>) -> !y
  %1 = lm.relu %0 : (!y) -> !y
  return %1 : !y
}

// Quantized by the norm before it; f16 around.
// CHECK-LABEL: @narrow
// CHECK: %{{.*}}, %[[Q:.*]], %[[S:.*]] = kernel.norm_quantized <layer> %arg0 {{.*}} -> (tensor<?x32xf16{{.*}}, tensor<?x32xf8E4M3FN
// CHECK: kernel.gemm_f8 %[[Q]] scale %[[S]], {{.*}} -> tensor<?x32xf16
func.func @narrow(%x: !h) -> !h {
  %w = lm.weight "v" from (dense<1.0> : tensor<32x32xf32>) : tensor<32x32xf32>
  %n = lm.norm <layer> %x {epsilon = 1.000000e-05 : f64} : (!h) -> !h
  %f = lm.cast %n : (!h) -> !x
  %0 = lm.linear %f, %w : (!x, tensor<32x32xf32>) -> !x
  %1 = lm.cast %0 : (!x) -> !h
  return %1 : !h
}
