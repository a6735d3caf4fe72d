// RUN: llmopt-opt %s --lm-plan | FileCheck %s
// RUN: llmopt-opt %s --lm-plan="int8=none" | FileCheck %s --check-prefix=NONE

!x = tensor<?x32xf32, #lm.dims<"n", 32>>
!xi = tensor<?x32xi8, #lm.dims<"n", 32>>
!xu = tensor<?x32xui8, #lm.dims<"n", 32>>
!y = tensor<?x20xf32, #lm.dims<"n", 20>>

// One scale for all rows, known before, and one quantization for both products.
// CHECK-LABEL: @static
// CHECK: %[[Q:.*]] = kernel.quantize_tensor %arg0 scale %[[S:.*]] {narrow_range = true}
// CHECK-NOT: kernel.quantize_tensor
// CHECK: kernel.gemm_s8 <panels> %[[Q]] scale %[[S]], %{{.*}} scale
// CHECK: kernel.gemm_s8 <panels> %[[Q]] scale %[[S]], %{{.*}} scale
// CHECK-NOT: kernel.loops
// NONE-LABEL: @static
// NONE: lm.quantize
// NONE: kernel.gemm
func.func @static(%x: !x) -> !y {
  %w = lm.weight "w" from (dense<1> : tensor<32x20xi8>) : tensor<32x20xi8>
  %v = lm.weight "v" from (dense<2> : tensor<20x32xi8>) : tensor<20x32xi8>
  %s = lm.constant dense<0.5> : tensor<f32>
  %q = lm.quantize %x scale %s {narrow_range = true} : (!x, tensor<f32>) -> !xi
  %d = lm.dequantize %q scale %s : (!xi, tensor<f32>) -> !x
  %ws = lm.weight "ws" from (dense<1.0> : tensor<1x20xf32>) : tensor<1x20xf32>
  %wd = lm.dequantize %w scale %ws : (tensor<32x20xi8>, tensor<1x20xf32>) -> tensor<32x20xf32>
  %vs = lm.constant dense<0.25> : tensor<f32>
  %vd = lm.dequantize %v scale %vs : (tensor<20x32xi8>, tensor<f32>) -> tensor<20x32xf32>
  %0 = lm.linear %d, %wd : (!x, tensor<32x20xf32>) -> !y
  %1 = lm.linear %d, %vd {transpose_weight = true} : (!x, tensor<20x32xf32>) -> !y
  %2 = lm.add %0, %1 : (!y, !y) -> !y
  return %2 : !y
}

// Bytes are stored less 128, and so is their zero point: 131 is 3, taken off with the
// sums of columns. Zero points of weights that are 0 are none, and bytes around 128
// are signed.
// CHECK-LABEL: @bytes
// CHECK: lm.constant dense<3> : tensor<i8>
// CHECK: %[[Q:.*]] = kernel.quantize_tensor %arg0 scale %[[S:.*]] zero_point %{{.*}} :
// CHECK-NOT: kernel.quantize_tensor
// CHECK: %[[C:.*]] = kernel.column_sums
// CHECK: lm.quantize {{.*}} -> tensor<20x32xi8>
// CHECK: kernel.gemm_s8 <panels> %[[Q]] scale %[[S]] zero_point
// CHECK: kernel.gemm_s8 <panels> %[[Q]] scale %[[S]] zero_point %{{.*}} sums %[[C]], {{.*}} residual
// CHECK-NOT: kernel.loops
func.func @bytes(%x: !x) -> !y {
  %w = lm.weight "w" from (dense<1> : tensor<32x20xi8>) : tensor<32x20xi8>
  %v = lm.weight "v" from (dense<2> : tensor<20x32xui8>) : tensor<20x32xui8>
  %s = lm.constant dense<0.5> : tensor<f32>
  %z = lm.constant dense<131> : tensor<ui8>
  %q = lm.quantize %x scale %s zero_point %z : (!x, tensor<f32>, tensor<ui8>) -> !xu
  %d = lm.dequantize %q scale %s zero_point %z : (!xu, tensor<f32>, tensor<ui8>) -> !x
  %ws = lm.weight "ws" from (dense<1.0> : tensor<1x20xf32>) : tensor<1x20xf32>
  %wz = lm.constant dense<0> : tensor<1x20xi8>
  %wd = lm.dequantize %w scale %ws zero_point %wz : (tensor<32x20xi8>, tensor<1x20xf32>, tensor<1x20xi8>) -> tensor<32x20xf32>
  %vs = lm.constant dense<0.25> : tensor<f32>
  %vz = lm.constant dense<128> : tensor<ui8>
  %vd = lm.dequantize %v scale %vs zero_point %vz : (tensor<20x32xui8>, tensor<f32>, tensor<ui8>) -> tensor<20x32xf32>
  %0 = lm.linear %d, %wd : (!x, tensor<32x20xf32>) -> !y
  %1 = lm.linear %d, %vd {transpose_weight = true} : (!x, tensor<20x32xf32>) -> !y
  %2 = lm.add %0, %1 : (!y, !y) -> !y
  return %2 : !y
}

// Weights with another zero point are products of dequantized values.
// CHECK-LABEL: @zero_of_weight
// CHECK-NOT: kernel.gemm_s8
// CHECK: kernel.gemm
func.func @zero_of_weight(%x: !x) -> !y {
  %w = lm.weight "w" from (dense<1> : tensor<32x20xi8>) : tensor<32x20xi8>
  %s = lm.constant dense<0.5> : tensor<f32>
  %q = lm.quantize %x scale %s : (!x, tensor<f32>) -> !xi
  %d = lm.dequantize %q scale %s : (!xi, tensor<f32>) -> !x
  %wz = lm.constant dense<1> : tensor<i8>
  %wd = lm.dequantize %w scale %s zero_point %wz : (tensor<32x20xi8>, tensor<f32>, tensor<i8>) -> tensor<32x20xf32>
  %0 = lm.linear %d, %wd : (!x, tensor<32x20xf32>) -> !y
  return %0 : !y
}
