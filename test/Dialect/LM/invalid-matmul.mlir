// RUN: llmopt-opt %s -verify-diagnostics -split-input-file

func.func @matmul_c1(%a: tensor<2x3xf32>) {
  // expected-error @+2 {{expected equal contracted dimensions, but got 3 and 2}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.matmul %a, %a : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @matmul_c2(%a: tensor<f32>) {
  // expected-error @+2 {{expected operands of rank 1 or more and one element type}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.matmul %a, %a : (tensor<f32>, tensor<f32>) -> tensor<f32>
  return
}

// -----

func.func @matmul_lead(%a: tensor<2x3x3xf32>, %b: tensor<4x3x3xf32>) {
  // expected-error @+2 {{expected leading dimensions that broadcast}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.matmul %a, %b : (tensor<2x3x3xf32>, tensor<4x3x3xf32>) -> tensor<4x3x3xf32>
  return
}

// -----

func.func @linear_c1(%a: tensor<2x3xf32>, %w: tensor<4x3xf32>) {
  // expected-error @+1 {{expected a weight for 3 inputs, but got 'tensor<4x3xf32>'}}
  %0 = lm.linear %a, %w : (tensor<2x3xf32>, tensor<4x3xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @linear_c2(%a: tensor<2x3xf32>, %w: tensor<3x4xf32>, %b: tensor<3xf32>) {
  // expected-error @+1 {{expected a bias of 4 elements, but got 'tensor<3xf32>'}}
  %0 = lm.linear %a, %w bias %b : (tensor<2x3xf32>, tensor<3x4xf32>, tensor<3xf32>) -> tensor<2x4xf32>
  return
}

// -----

func.func @linear_c3(%a: tensor<2x3xf32>, %w: tensor<3x4xf16>) {
  // expected-error @+1 {{expected operands of one element type}}
  %0 = lm.linear %a, %w : (tensor<2x3xf32>, tensor<3x4xf16>) -> tensor<2x4xf32>
  return
}

// -----

func.func @conv_c1_lengths(%a: tensor<1x4x9xf32>, %w: tensor<6x4x3xf32>) {
  // expected-error @+1 {{expected strides, dilations and pads for 1 spatial dimensions}}
  %0 = lm.conv %a, %w {strides = array<i64: 1, 1>, pads = array<i64: 0, 0>, dilations = array<i64: 1>, groups = 1 : i64} : (tensor<1x4x9xf32>, tensor<6x4x3xf32>) -> tensor<1x6x7xf32>
  return
}

// -----

func.func @conv_c1_values(%a: tensor<1x4x9xf32>, %w: tensor<6x4x3xf32>) {
  // expected-error @+1 {{expected positive strides and dilations and no negative pads}}
  %0 = lm.conv %a, %w {strides = array<i64: 0>, pads = array<i64: 0, 0>, dilations = array<i64: 1>, groups = 1 : i64} : (tensor<1x4x9xf32>, tensor<6x4x3xf32>) -> tensor<1x6x7xf32>
  return
}

// -----

func.func @conv_c2(%a: tensor<1x4x9xf32>, %w: tensor<6x4x3xf32>) {
  // expected-error @+1 {{expected channels that fit 2 groups}}
  %0 = lm.conv %a, %w {strides = array<i64: 1>, pads = array<i64: 0, 0>, dilations = array<i64: 1>, groups = 2 : i64} : (tensor<1x4x9xf32>, tensor<6x4x3xf32>) -> tensor<1x6x7xf32>
  return
}

// -----

func.func @conv_c3(%a: tensor<1x4x9xf32>, %w: tensor<6x4x3xf32>, %b: tensor<5xf32>) {
  // expected-error @+1 {{expected one bias per output channel, but got 'tensor<5xf32>'}}
  %0 = lm.conv %a, %w bias %b {strides = array<i64: 1>, pads = array<i64: 0, 0>, dilations = array<i64: 1>, groups = 1 : i64} : (tensor<1x4x9xf32>, tensor<6x4x3xf32>, tensor<5xf32>) -> tensor<1x6x7xf32>
  return
}

// -----

func.func @linear_scalar_result(%a: tensor<2x3xf32>, %w: tensor<3x4xf32>, %b: tensor<4xf32>) {
  // expected-error @+2 {{failed to infer returned types}}
  // expected-error @+1 {{incompatible with return type(s) of operation}}
  %0 = lm.linear %a, %w bias %b : (tensor<2x3xf32>, tensor<3x4xf32>, tensor<4xf32>) -> tensor<f32>
  return
}
