// RUN: llmopt-opt %s -verify-diagnostics -split-input-file

func.func @reduce_c1(%a: tensor<2x3xf32>) {
  // expected-error @+2 {{expected distinct axes in [0, 2), but got 1}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.reduce <sum> %a {axes = array<i64: 1, 1>, keepdims = false} : (tensor<2x3xf32>) -> tensor<2xf32>
  return
}

// -----

func.func @arg_reduce_c1(%a: tensor<2x3xf32>) {
  // expected-error @+2 {{expected distinct axes in [0, 2), but got 2}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.arg_reduce %a {axis = 2 : i64, keepdims = false, smallest = false, last = false} : (tensor<2x3xf32>) -> tensor<2xi64>
  return
}

// -----

func.func @cum_sum_c1(%a: tensor<2x3xf32>) {
  // expected-error @+2 {{expected axis in [0, 2), but got 2}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.cum_sum %a {axis = 2 : i64, exclusive = false, reverse = false} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @softmax_c1(%a: tensor<2x3xf32>) {
  // expected-error @+2 {{expected axis in [0, 2), but got -1}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.softmax %a {axis = -1 : i64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return
}
