// RUN: llmopt-opt %s -verify-diagnostics -split-input-file

func.func @windows_c1_range(%a: tensor<4x9xf32>) {
  // expected-error @+2 {{expected distinct axes in [0, 2), but got 2}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.windows %a {axes = array<i64: 2>, sizes = array<i64: 3>, strides = array<i64: 1>, dilations = array<i64: 1>} : (tensor<4x9xf32>) -> tensor<4x7x3xf32>
  return
}

// -----

func.func @windows_c1_distinct(%a: tensor<4x9xf32>) {
  // expected-error @+2 {{expected distinct axes in [0, 2), but got 1}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.windows %a {axes = array<i64: 1, 1>, sizes = array<i64: 3, 3>, strides = array<i64: 1, 1>, dilations = array<i64: 1, 1>} : (tensor<4x9xf32>) -> tensor<4x7x3x3xf32>
  return
}

// -----

func.func @windows_c2_lengths(%a: tensor<4x9xf32>) {
  // expected-error @+2 {{expected one size, stride and dilation per axis}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.windows %a {axes = array<i64: 1>, sizes = array<i64: 3>, strides = array<i64: 1, 1>, dilations = array<i64: 1>} : (tensor<4x9xf32>) -> tensor<4x7x3xf32>
  return
}

// -----

func.func @windows_c2_values(%a: tensor<4x9xf32>) {
  // expected-error @+2 {{expected positive sizes, strides and dilations below 2^31}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.windows %a {axes = array<i64: 1>, sizes = array<i64: 3>, strides = array<i64: 0>, dilations = array<i64: 1>} : (tensor<4x9xf32>) -> tensor<4x7x3xf32>
  return
}

// -----

func.func @windows_c3(%a: tensor<4x9xf32>) {
  // expected-error @+2 {{expected at least 11 elements for a window, but got 9}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.windows %a {axes = array<i64: 1>, sizes = array<i64: 3>, strides = array<i64: 1>, dilations = array<i64: 5>} : (tensor<4x9xf32>) -> tensor<4x1x3xf32>
  return
}
