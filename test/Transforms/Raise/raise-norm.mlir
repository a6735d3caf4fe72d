// RUN: llmopt-opt %s --lm-raise-norm | FileCheck %s

// CHECK-LABEL: @layer
// CHECK-DAG: %[[S:.*]] = lm.weight "s"
// CHECK-DAG: %[[B:.*]] = lm.weight "b"
// CHECK: %[[R:.*]] = lm.norm <layer> %arg0 scale %[[S]] bias %[[B]] {epsilon = 9.9999997171806853E-10 : f64}
// CHECK-NEXT: return %[[R]]
func.func @layer(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %s = lm.weight "s" from (dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>) : tensor<4xf32>
  %b = lm.weight "b" from (dense<[0.1, 0.2, 0.3, 0.4]> : tensor<4xf32>) : tensor<4xf32>
  %two = lm.constant dense<2.0> : tensor<f32>
  %eps = lm.constant dense<1.0e-9> : tensor<f32>
  %0 = lm.reduce <mean> %x {axes = array<i64: 1>, keepdims = true} : (tensor<2x4xf32>) -> tensor<2x1xf32>
  %1 = lm.sub %x, %0 : (tensor<2x4xf32>, tensor<2x1xf32>) -> tensor<2x4xf32>
  %2 = lm.pow %1, %two : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %3 = lm.reduce <mean> %2 {axes = array<i64: 1>, keepdims = true} : (tensor<2x4xf32>) -> tensor<2x1xf32>
  %4 = lm.add %3, %eps : (tensor<2x1xf32>, tensor<f32>) -> tensor<2x1xf32>
  %5 = lm.sqrt %4 : (tensor<2x1xf32>) -> tensor<2x1xf32>
  %6 = lm.div %1, %5 : (tensor<2x4xf32>, tensor<2x1xf32>) -> tensor<2x4xf32>
  %7 = lm.mul %6, %s : (tensor<2x4xf32>, tensor<4xf32>) -> tensor<2x4xf32>
  %8 = lm.add %b, %7 : (tensor<4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  return %8 : tensor<2x4xf32>
}

// A second subtraction, the square as a product, 1/sqrt as a factor; no bias.
// CHECK-LABEL: @layer_sub_twice
// CHECK: %[[S:.*]] = lm.weight "s"
// CHECK-NEXT: lm.norm <layer> %arg0 scale %[[S]] {
// CHECK-NOT: lm.sub
func.func @layer_sub_twice(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %s = lm.weight "s" from (dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>) : tensor<4xf32>
  %one = lm.constant dense<1.0> : tensor<f32>
  %eps = lm.constant dense<1.0e-5> : tensor<1xf32>
  %0 = lm.reduce <mean> %x {axes = array<i64: 1>, keepdims = true} : (tensor<2x4xf32>) -> tensor<2x1xf32>
  %1 = lm.sub %x, %0 : (tensor<2x4xf32>, tensor<2x1xf32>) -> tensor<2x4xf32>
  %dup = lm.sub %x, %0 : (tensor<2x4xf32>, tensor<2x1xf32>) -> tensor<2x4xf32>
  %2 = lm.mul %1, %1 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %3 = lm.reduce <mean> %2 {axes = array<i64: 1>, keepdims = true} : (tensor<2x4xf32>) -> tensor<2x1xf32>
  %4 = lm.add %eps, %3 : (tensor<1xf32>, tensor<2x1xf32>) -> tensor<2x1xf32>
  %5 = lm.sqrt %4 : (tensor<2x1xf32>) -> tensor<2x1xf32>
  %6 = lm.div %one, %5 : (tensor<f32>, tensor<2x1xf32>) -> tensor<2x1xf32>
  %7 = lm.mul %dup, %6 : (tensor<2x4xf32>, tensor<2x1xf32>) -> tensor<2x4xf32>
  %8 = lm.mul %s, %7 : (tensor<4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  return %8 : tensor<2x4xf32>
}

// T5: squares of f16 in f32, the scale in f16.
// CHECK-LABEL: @rms_casts
// CHECK: %[[S:.*]] = lm.weight "s"
// CHECK-NEXT: %[[R:.*]] = lm.norm <rms> %arg0 scale %[[S]] {{.*}} : (tensor<2x4xf16>, tensor<4xf16>) -> tensor<2x4xf16>
// CHECK-NEXT: return %[[R]]
func.func @rms_casts(%x: tensor<2x4xf16>) -> tensor<2x4xf16> {
  %s = lm.weight "s" from (dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf16>) : tensor<4xf16>
  %two = lm.constant dense<2.0> : tensor<f32>
  %eps = lm.constant dense<1.0e-6> : tensor<f32>
  %w = lm.cast %x : (tensor<2x4xf16>) -> tensor<2x4xf32>
  %0 = lm.pow %w, %two : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %1 = lm.reduce <mean> %0 {axes = array<i64: 1>, keepdims = true} : (tensor<2x4xf32>) -> tensor<2x1xf32>
  %2 = lm.add %1, %eps : (tensor<2x1xf32>, tensor<f32>) -> tensor<2x1xf32>
  %3 = lm.sqrt %2 : (tensor<2x1xf32>) -> tensor<2x1xf32>
  %4 = lm.reciprocal %3 : (tensor<2x1xf32>) -> tensor<2x1xf32>
  %5 = lm.mul %w, %4 : (tensor<2x4xf32>, tensor<2x1xf32>) -> tensor<2x4xf32>
  %6 = lm.cast %5 : (tensor<2x4xf32>) -> tensor<2x4xf16>
  %7 = lm.mul %s, %6 : (tensor<4xf16>, tensor<2x4xf16>) -> tensor<2x4xf16>
  return %7 : tensor<2x4xf16>
}

// pow(-1/2), the mean without its dimension, no scale; a vector added behind an
// RMS norm is no bias of it.
// CHECK-LABEL: @rms_pow
// CHECK: lm.norm <rms> %arg0 {
// CHECK-NEXT: lm.add
func.func @rms_pow(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %b = lm.weight "b" from (dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>) : tensor<4xf32>
  %p = lm.constant dense<-0.5> : tensor<f32>
  %eps = lm.constant dense<1.0e-6> : tensor<f32>
  %0 = lm.mul %x, %x : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = lm.reduce <mean> %0 {axes = array<i64: 1>, keepdims = false} : (tensor<2x4xf32>) -> tensor<2xf32>
  %2 = lm.reshape %1 : (tensor<2xf32>) -> tensor<2x1xf32>
  %3 = lm.add %2, %eps : (tensor<2x1xf32>, tensor<f32>) -> tensor<2x1xf32>
  %4 = lm.pow %3, %p : (tensor<2x1xf32>, tensor<f32>) -> tensor<2x1xf32>
  %5 = lm.mul %x, %4 : (tensor<2x4xf32>, tensor<2x1xf32>) -> tensor<2x4xf32>
  %6 = lm.add %5, %b : (tensor<2x4xf32>, tensor<4xf32>) -> tensor<2x4xf32>
  return %6 : tensor<2x4xf32>
}

// Not one: another value is divided than the one that was squared.
// CHECK-LABEL: @other_value
// CHECK-NOT: lm.norm
func.func @other_value(%x: tensor<2x4xf32>, %y: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %eps = lm.constant dense<1.0e-6> : tensor<f32>
  %0 = lm.mul %x, %x : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = lm.reduce <mean> %0 {axes = array<i64: 1>, keepdims = true} : (tensor<2x4xf32>) -> tensor<2x1xf32>
  %3 = lm.add %1, %eps : (tensor<2x1xf32>, tensor<f32>) -> tensor<2x1xf32>
  %4 = lm.sqrt %3 : (tensor<2x1xf32>) -> tensor<2x1xf32>
  %5 = lm.div %y, %4 : (tensor<2x4xf32>, tensor<2x1xf32>) -> tensor<2x4xf32>
  return %5 : tensor<2x4xf32>
}

// Not one: the variance around a mean over another dimension.
// CHECK-LABEL: @other_mean
// CHECK-NOT: lm.norm <layer>
func.func @other_mean(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %eps = lm.constant dense<1.0e-6> : tensor<f32>
  %0 = lm.reduce <mean> %x {axes = array<i64: 0>, keepdims = true} : (tensor<4x4xf32>) -> tensor<1x4xf32>
  %1 = lm.sub %x, %0 : (tensor<4x4xf32>, tensor<1x4xf32>) -> tensor<4x4xf32>
  %2 = lm.mul %1, %1 : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  %3 = lm.reduce <mean> %2 {axes = array<i64: 0>, keepdims = true} : (tensor<4x4xf32>) -> tensor<1x4xf32>
  %4 = lm.add %3, %eps : (tensor<1x4xf32>, tensor<f32>) -> tensor<1x4xf32>
  %5 = lm.sqrt %4 : (tensor<1x4xf32>) -> tensor<1x4xf32>
  %6 = lm.div %1, %5 : (tensor<4x4xf32>, tensor<1x4xf32>) -> tensor<4x4xf32>
  return %6 : tensor<4x4xf32>
}

// Not one: epsilon is computed.
// CHECK-LABEL: @epsilon_is_input
// CHECK-NOT: lm.norm
func.func @epsilon_is_input(%x: tensor<2x4xf32>, %eps: tensor<f32>) -> tensor<2x4xf32> {
  %0 = lm.mul %x, %x : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = lm.reduce <mean> %0 {axes = array<i64: 1>, keepdims = true} : (tensor<2x4xf32>) -> tensor<2x1xf32>
  %3 = lm.add %1, %eps : (tensor<2x1xf32>, tensor<f32>) -> tensor<2x1xf32>
  %4 = lm.sqrt %3 : (tensor<2x1xf32>) -> tensor<2x1xf32>
  %5 = lm.div %x, %4 : (tensor<2x4xf32>, tensor<2x1xf32>) -> tensor<2x4xf32>
  return %5 : tensor<2x4xf32>
}
