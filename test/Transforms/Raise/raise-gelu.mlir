// RUN: llmopt-opt %s --lm-raise-gelu | FileCheck %s

// CHECK-LABEL: @erf
// CHECK-NEXT: %[[R:.*]] = lm.gelu <erf> %arg0
// CHECK-NEXT: return %[[R]]
func.func @erf(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %sqrt2 = lm.constant dense<1.41421354> : tensor<f32>
  %one = lm.constant dense<1.0> : tensor<f32>
  %half = lm.constant dense<0.5> : tensor<f32>
  %0 = lm.div %x, %sqrt2 : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %1 = lm.erf %0 : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %2 = lm.add %1, %one : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %3 = lm.mul %x, %2 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %4 = lm.mul %3, %half : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  return %4 : tensor<2x4xf32>
}

// The half first, 0.7071 as a factor, and everything from the left.
// CHECK-LABEL: @erf_half_first
// CHECK: lm.gelu <erf> %arg0
// CHECK-NOT: lm.erf
func.func @erf_half_first(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %c = lm.constant dense<0.7071> : tensor<f32>
  %one = lm.constant dense<1.0> : tensor<1xf32>
  %two = lm.constant dense<2.0> : tensor<f32>
  %h = lm.div %x, %two : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %0 = lm.mul %c, %x : (tensor<f32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = lm.erf %0 : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %2 = lm.add %one, %1 : (tensor<1xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %3 = lm.mul %2, %h : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  return %3 : tensor<2x4xf32>
}

// x/2 + x/2 erf.
// CHECK-LABEL: @erf_expanded
// CHECK: lm.gelu <erf> %arg0
// CHECK-NOT: lm.erf
func.func @erf_expanded(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %sqrt2 = lm.constant dense<1.41421354> : tensor<f32>
  %half = lm.constant dense<0.5> : tensor<f32>
  %h = lm.mul %x, %half : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %0 = lm.div %x, %sqrt2 : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %1 = lm.erf %0 : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %2 = lm.mul %1, %h : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %3 = lm.add %2, %h : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  return %3 : tensor<2x4xf32>
}

// CHECK-LABEL: @tanh
// CHECK-NEXT: %[[R:.*]] = lm.gelu <tanh> %arg0
// CHECK-NEXT: return %[[R]]
func.func @tanh(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %three = lm.constant dense<3.0> : tensor<f32>
  %a = lm.constant dense<0.044715> : tensor<f32>
  %b = lm.constant dense<0.797884583> : tensor<f32>
  %one = lm.constant dense<1.0> : tensor<f32>
  %half = lm.constant dense<0.5> : tensor<f32>
  %0 = lm.pow %x, %three : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %1 = lm.mul %0, %a : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %2 = lm.add %x, %1 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %3 = lm.mul %2, %b : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %4 = lm.tanh %3 : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %5 = lm.add %4, %one : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %6 = lm.mul %x, %half : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %7 = lm.mul %6, %5 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  return %7 : tensor<2x4xf32>
}

// x (0.7978845608 (1 + 0.044715 x x)), computed in f32 around f16.
// CHECK-LABEL: @tanh_factored_f16
// CHECK-NEXT: %[[R:.*]] = lm.gelu <tanh> %arg0
// CHECK-NEXT: return %[[R]]
func.func @tanh_factored_f16(%x16: tensor<2x4xf16>) -> tensor<2x4xf16> {
  %a = lm.constant dense<0.044715> : tensor<f32>
  %b = lm.constant dense<0.797884583> : tensor<f32>
  %one = lm.constant dense<1.0> : tensor<f32>
  %half = lm.constant dense<0.5> : tensor<f32>
  %x = lm.cast %x16 : (tensor<2x4xf16>) -> tensor<2x4xf32>
  %0 = lm.mul %x, %b : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %1 = lm.mul %x, %a : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %2 = lm.mul %1, %x : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %3 = lm.add %2, %one : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %4 = lm.mul %0, %3 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %5 = lm.tanh %4 : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %6 = lm.add %5, %one : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %7 = lm.mul %x, %6 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %8 = lm.mul %7, %half : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %9 = lm.cast %8 : (tensor<2x4xf32>) -> tensor<2x4xf16>
  return %9 : tensor<2x4xf16>
}

// CHECK-LABEL: @quick
// CHECK-NEXT: %[[R:.*]] = lm.gelu <quick> %arg0
// CHECK-NEXT: return %[[R]]
func.func @quick(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %c = lm.constant dense<1.702> : tensor<f32>
  %0 = lm.mul %x, %c : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %1 = lm.sigmoid %0 : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %2 = lm.mul %1, %x : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  return %2 : tensor<2x4xf32>
}

// Not one: erf(x) without the root of two.
// CHECK-LABEL: @erf_other_argument
// CHECK: lm.erf
// CHECK-NOT: lm.gelu
func.func @erf_other_argument(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %one = lm.constant dense<1.0> : tensor<f32>
  %half = lm.constant dense<0.5> : tensor<f32>
  %1 = lm.erf %x : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %2 = lm.add %1, %one : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %3 = lm.mul %x, %2 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %4 = lm.mul %3, %half : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  return %4 : tensor<2x4xf32>
}

// Not one: erf of x, times y.
// CHECK-LABEL: @erf_other_factor
// CHECK: lm.erf
// CHECK-NOT: lm.gelu
func.func @erf_other_factor(%x: tensor<2x4xf32>, %y: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %sqrt2 = lm.constant dense<1.41421354> : tensor<f32>
  %one = lm.constant dense<1.0> : tensor<f32>
  %half = lm.constant dense<0.5> : tensor<f32>
  %0 = lm.div %x, %sqrt2 : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %1 = lm.erf %0 : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %2 = lm.add %1, %one : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %3 = lm.mul %y, %2 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %4 = lm.mul %3, %half : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  return %4 : tensor<2x4xf32>
}

// Not raised: erf is an output too.
// CHECK-LABEL: @erf_used_elsewhere
// CHECK-NOT: lm.gelu
func.func @erf_used_elsewhere(%x: tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>) {
  %sqrt2 = lm.constant dense<1.41421354> : tensor<f32>
  %one = lm.constant dense<1.0> : tensor<f32>
  %half = lm.constant dense<0.5> : tensor<f32>
  %0 = lm.div %x, %sqrt2 : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %1 = lm.erf %0 : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %2 = lm.add %1, %one : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %3 = lm.mul %x, %2 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %4 = lm.mul %3, %half : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  return %4, %1 : tensor<2x4xf32>, tensor<2x4xf32>
}

// A pooler's tanh and a SiLU stay.
// CHECK-LABEL: @no_candidates
// CHECK-NOT: lm.gelu
func.func @no_candidates(%x: tensor<2x4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>) {
  %0 = lm.tanh %x : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = lm.sigmoid %x : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %2 = lm.mul %1, %x : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  return %0, %2 : tensor<2x4xf32>, tensor<2x4xf32>
}

// Audio: convolution, GELU, transpose; cleanup moves the 0.5 behind the last.
// CHECK-LABEL: @before_transpose
// CHECK-NEXT: %[[G:.*]] = lm.gelu <erf> %arg0
// CHECK-NEXT: lm.transpose %[[G]]
func.func @before_transpose(%x: tensor<2x4xf32>) -> tensor<4x2xf32> {
  %sqrt2 = lm.constant dense<1.41421354> : tensor<f32>
  %one = lm.constant dense<1.0> : tensor<f32>
  %half = lm.constant dense<0.5> : tensor<f32>
  %0 = lm.div %x, %sqrt2 : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %1 = lm.erf %0 : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %2 = lm.add %1, %one : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %3 = lm.mul %x, %2 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %4 = lm.mul %3, %half : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
  %5 = lm.transpose %4 {perm = array<i64: 1, 0>} : (tensor<2x4xf32>) -> tensor<4x2xf32>
  return %5 : tensor<4x2xf32>
}

// A vector along the transposed dimension is no factor.
// CHECK-LABEL: @vector_behind_transpose
// CHECK-NOT: lm.gelu
func.func @vector_behind_transpose(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %sqrt2 = lm.constant dense<1.41421354> : tensor<f32>
  %one = lm.constant dense<1.0> : tensor<f32>
  %half = lm.constant dense<[0.5, 0.5, 0.5, 0.25]> : tensor<4xf32>
  %0 = lm.div %x, %sqrt2 : (tensor<4x4xf32>, tensor<f32>) -> tensor<4x4xf32>
  %1 = lm.erf %0 : (tensor<4x4xf32>) -> tensor<4x4xf32>
  %2 = lm.add %1, %one : (tensor<4x4xf32>, tensor<f32>) -> tensor<4x4xf32>
  %3 = lm.mul %x, %2 : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  %4 = lm.transpose %3 {perm = array<i64: 1, 0>} : (tensor<4x4xf32>) -> tensor<4x4xf32>
  %5 = lm.mul %4, %half : (tensor<4x4xf32>, tensor<4xf32>) -> tensor<4x4xf32>
  return %5 : tensor<4x4xf32>
}
