// Linear layers by constant weights get int4 weights in groups of inputs.
// RUN: llmopt-opt %s -pass-pipeline='builtin.module(func.func(lm-quantize-int4))' 2>%t | FileCheck %s
// RUN: FileCheck %s --check-prefix=WARN --input-file=%t
// RUN: llmopt-opt %s -pass-pipeline='builtin.module(func.func(lm-quantize-int4{weights-only=true group=64}))' 2>/dev/null | FileCheck %s --check-prefix=ONLY
// RUN: not llmopt-opt %s -pass-pipeline='builtin.module(func.func(lm-quantize-int4{group=48}))' 2>&1 | FileCheck %s --check-prefix=GROUP

// GROUP: expected groups of 32, 64 or 128, but got 48

!x = tensor<?x64xf32, #lm.dims<"n", 64>>

// The input in groups of its own, once for both layers; the weight along its inputs.
// CHECK-LABEL: func.func @shared
// CHECK: %[[X:.*]] = lm.reshape %arg0 : (tensor<?x64xf32, {{.*}}>) -> tensor<?x2x32xf32
// CHECK: %[[S:.*]] = lm.absmax_scale %[[X]] {axes = array<i64: 2>, qmax = 1.270000e+02 : f64}
// CHECK: %[[Q:.*]] = lm.quantize %[[X]] scale %[[S]] {narrow_range = true}
// CHECK: lm.dequantize %[[Q]] scale %[[S]]
// CHECK: %[[IN:.*]] = lm.reshape {{.*}} -> tensor<?x64xf32
// CHECK-NOT: lm.reshape %arg0
// CHECK: lm.reshape {{.*}} : (tensor<64x16xf32>) -> tensor<2x32x16xf32>
// CHECK: lm.absmax_scale {{.*}} {axes = array<i64: 1>, qmax = 7.000000e+00 : f64}
// CHECK: lm.quantize {{.*}} -> tensor<2x32x16xi4>
// CHECK: lm.linear %[[IN]]
// CHECK: lm.reshape {{.*}} : (tensor<16x64xf32>) -> tensor<16x2x32xf32>
// CHECK: lm.quantize {{.*}} -> tensor<16x2x32xi4>
// CHECK: lm.linear %[[IN]], %{{.*}} {transpose_weight = true}
// ONLY-LABEL: func.func @shared
// ONLY: lm.quantize {{.*}} -> tensor<1x64x16xi4>
// ONLY: lm.linear %arg0
func.func @shared(%x: !x) -> (tensor<?x16xf32, #lm.dims<"n", 16>>, tensor<?x16xf32, #lm.dims<"n", 16>>) {
  %w = lm.weight "w" from(dense<1.0> : tensor<64x16xf32>) : tensor<64x16xf32>
  %v = lm.weight "v" from(dense<2.0> : tensor<16x64xf32>) : tensor<16x64xf32>
  %0 = lm.linear %x, %w : (!x, tensor<64x16xf32>) -> tensor<?x16xf32, #lm.dims<"n", 16>>
  %1 = lm.linear %x, %v {transpose_weight = true} : (!x, tensor<16x64xf32>) -> tensor<?x16xf32, #lm.dims<"n", 16>>
  return %0, %1 : tensor<?x16xf32, #lm.dims<"n", 16>>, tensor<?x16xf32, #lm.dims<"n", 16>>
}

// 48 inputs are no groups of 32.
// WARN: left in float: groups of 32 do not divide 48 inputs
// CHECK-LABEL: func.func @left_alone
// CHECK-NOT: lm.quantize
func.func @left_alone(%x: tensor<4x48xf32>) -> tensor<4x16xf32> {
  %w = lm.weight "w" from(dense<1.0> : tensor<48x16xf32>) : tensor<48x16xf32>
  %0 = lm.linear %x, %w : (tensor<4x48xf32>, tensor<48x16xf32>) -> tensor<4x16xf32>
  return %0 : tensor<4x16xf32>
}
