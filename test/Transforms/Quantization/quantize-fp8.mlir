// Linear layers by constant weights get explicit e4m3 on both sides.
// RUN: llmopt-opt %s -pass-pipeline='builtin.module(func.func(lm-quantize-fp8))' | FileCheck %s

!x = tensor<?x32xf32, #lm.dims<"n", 32>>

// One quantization of x serves both layers; a scale per row of x, one per column of a weight.
// CHECK-LABEL: func.func @shared
// CHECK: %[[S:.*]] = lm.absmax_scale %arg0 {axes = array<i64: 1>, qmax = 4.480000e+02 : f64}
// CHECK: %[[Q:.*]] = lm.quantize %arg0 scale %[[S]] : {{.*}} -> tensor<?x32xf8E4M3FN
// CHECK: %[[X:.*]] = lm.dequantize %[[Q]] scale %[[S]]
// CHECK-NOT: lm.absmax_scale %arg0
// CHECK: lm.absmax_scale %{{.*}} {axes = array<i64: 0>, qmax = 4.480000e+02 : f64}
// CHECK: lm.quantize {{.*}} -> tensor<32x32xf8E4M3FN>
// CHECK: lm.linear %[[X]]
// CHECK: lm.absmax_scale %{{.*}} {axes = array<i64: 1>
// CHECK: lm.linear %[[X]], %{{.*}} {transpose_weight = true}
func.func @shared(%x: !x) -> (!x, !x) {
  %w = lm.weight "w" from(dense<1.0> : tensor<32x32xf32>) : tensor<32x32xf32>
  %v = lm.weight "v" from(dense<2.0> : tensor<32x32xf32>) : tensor<32x32xf32>
  %0 = lm.linear %x, %w : (!x, tensor<32x32xf32>) -> !x
  %1 = lm.linear %x, %v {transpose_weight = true} : (!x, tensor<32x32xf32>) -> !x
  return %0, %1 : !x, !x
}

// Too narrow, or not constant: left in float.
// CHECK-LABEL: func.func @left_alone
// CHECK-NOT: lm.quantize
func.func @left_alone(%x: !x, %w: tensor<32x32xf32>) -> (tensor<?x2xf32, #lm.dims<"n", 2>>, !x) {
  %v = lm.weight "v" from(dense<2.0> : tensor<32x2xf32>) : tensor<32x2xf32>
  %0 = lm.linear %x, %v : (!x, tensor<32x2xf32>) -> tensor<?x2xf32, #lm.dims<"n", 2>>
  %1 = lm.linear %x, %w : (!x, tensor<32x32xf32>) -> !x
  return %0, %1 : tensor<?x2xf32, #lm.dims<"n", 2>>, !x
}
