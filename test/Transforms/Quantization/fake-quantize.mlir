// Rounding for training: both sides of a layer stay in float, a training step goes
// through them, and the same pass later makes the integers of the same scales.
// RUN: llmopt-opt %s -pass-pipeline='builtin.module(func.func(lm-quantize-int8{fake=true}))' | FileCheck %s
// RUN: llmopt-opt %s -pass-pipeline='builtin.module(func.func(lm-quantize-int8{fake=true}),lm-build-training)' | FileCheck %s --check-prefix=TRAIN
// RUN: llmopt-opt %s -pass-pipeline='builtin.module(func.func(lm-quantize-int8{fake=true},lm-quantize-int8))' > %t.later
// RUN: llmopt-opt %s -pass-pipeline='builtin.module(func.func(lm-quantize-int8))' > %t.direct
// RUN: diff %t.later %t.direct
// RUN: llmopt-opt %t.later -lm-plan=int8=pairs | FileCheck %s --check-prefix=PLAN
// RUN: llmopt-opt %s -pass-pipeline='builtin.module(func.func(lm-quantize-int4{fake=true}))' | FileCheck %s --check-prefix=INT4
// RUN: llmopt-opt %s -pass-pipeline='builtin.module(func.func(lm-quantize-int4{fake=true},lm-quantize-int4))' > %t.later4
// RUN: llmopt-opt %s -pass-pipeline='builtin.module(func.func(lm-quantize-int4))' > %t.direct4
// RUN: diff %t.later4 %t.direct4

!x = tensor<?x32xf32, #lm.dims<"n", 32>>

// CHECK-LABEL: func.func @main
// CHECK: %[[S:.*]] = lm.absmax_scale %arg0 {axes = array<i64: 1>, qmax = 1.270000e+02 : f64}
// CHECK: %[[X:.*]] = lm.fake_quantize %arg0 scale %[[S]] as i8 {narrow_range = true}
// CHECK: %[[W:.*]] = lm.weight "w"
// CHECK: %[[T:.*]] = lm.absmax_scale %[[W]] {axes = array<i64: 0>
// CHECK: %[[V:.*]] = lm.fake_quantize %[[W]] scale %[[T]] as i8 {narrow_range = true}
// CHECK: lm.linear %[[X]], %[[V]]
// CHECK-NOT: lm.quantize

// The weight is an argument, rounded in each step; its gradient passes where it was not
// clipped, and is that of the weight, not of the rounded one.
// TRAIN-LABEL: func.func @gradients
// TRAIN-SAME: %[[W:arg[0-9]+]]: tensor<32x32xf32> {lm.name = "w", lm.role = "parameter"}
// TRAIN: %[[S:.*]] = lm.absmax_scale %[[W]]
// TRAIN: lm.fake_quantize %[[W]] scale %[[S]] as i8
// TRAIN: %[[Q:.*]] = lm.div %[[W]], %[[S]]
// TRAIN: %[[R:.*]] = lm.round %[[Q]]
// TRAIN: lm.compare {{.*}}%[[R]]
// TRAIN: lm.compare {{.*}}%[[R]]
// TRAIN: lm.and
// TRAIN: %[[G:.*]] = lm.where
// TRAIN: return %{{.*}}, %{{.*}}, %[[G]]

// PLAN: kernel.gemm_s8

// INT4: lm.fake_quantize %{{.*}} as i8 {narrow_range = true} : (tensor<?x1x32xf32
// INT4: lm.fake_quantize %{{.*}} as i4 {narrow_range = true} : (tensor<1x32x32xf32>, tensor<1x1x32xf32>)
func.func @main(%x: !x {lm.name = "x"}) -> (!x {lm.name = "y"}) {
  %w = lm.weight "w" from(dense<1.0> : tensor<32x32xf32>) : tensor<32x32xf32>
  %0 = lm.linear %x, %w : (!x, tensor<32x32xf32>) -> !x
  return %0 : !x
}
