// RUN: llmopt-opt %s -verify-diagnostics -split-input-file

func.func @bitcast_c2(%a: tensor<2xi8>) {
  // expected-error @+1 {{expected element types of one size, but got 'tensor<2xi8>' and 'tensor<2xi16>'}}
  %0 = lm.bitcast %a : (tensor<2xi8>) -> tensor<2xi16>
  return
}

// -----

func.func @random_bits_c1() {
  // expected-error @+1 {{expected a result of ui64, but got 'tensor<2xi64>'}}
  %0 = lm.random_bits {seed = 1 : i64} : () -> tensor<2xi64>
  return
}

// -----

func.func @scatter_elements_c1(%x: tensor<4x5xf32>, %i: tensor<2x5xi64>, %u: tensor<2x5xf32>) {
  // expected-error @+2 {{expected operands of one rank and axis in [0, 2), but got 'tensor<2x5xi64>' and 2}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.scatter_elements <none> %x, %i, %u {axis = 2 : i64} : (tensor<4x5xf32>, tensor<2x5xi64>, tensor<2x5xf32>) -> tensor<4x5xf32>
  return
}

// -----

func.func @scatter_elements_c2(%x: tensor<4x5xf32>, %i: tensor<2x5xi64>, %u: tensor<2x4xf32>) {
  // expected-error @+2 {{expected updates of the shape of 'tensor<2x5xi64>'}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.scatter_elements <none> %x, %i, %u {axis = 0 : i64} : (tensor<4x5xf32>, tensor<2x5xi64>, tensor<2x4xf32>) -> tensor<4x5xf32>
  return
}

// -----

func.func @scatter_nd_c2(%x: tensor<4x5xf32>, %i: tensor<3x1xi64>, %u: tensor<3x4xf32>) {
  // expected-error @+2 {{expected updates of 'tensor<3x5xf32>', but got 'tensor<3x4xf32>'}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.scatter_nd <none> %x, %i, %u : (tensor<4x5xf32>, tensor<3x1xi64>, tensor<3x4xf32>) -> tensor<4x5xf32>
  return
}

// -----

func.func @arg_sort_c2(%x: tensor<4x5xf32>) {
  // expected-error @+1 {{expected i64 indices of the shape of 'tensor<4x5xf32>', but got 'tensor<4x6xi64>'}}
  %0 = lm.arg_sort %x {axis = 1 : i64, descending = true} : (tensor<4x5xf32>) -> tensor<4x6xi64>
  return
}

// -----

func.func @true_indices_c1(%m: tensor<2x3xi1>) {
  // expected-error @+1 {{expected vectors, and i64 indices}}
  %0 = lm.true_indices %m : (tensor<2x3xi1>) -> tensor<3xi64>
  return
}

// -----

func.func @define_symbol_c1(%c: tensor<2xi64>) {
  // expected-error @+1 {{expected one i64, but got 'tensor<2xi64>'}}
  lm.define_symbol "count_a" = %c {bound = #lm.sym<4> : tensor<1xi64>} : tensor<2xi64>
  return
}

// -----

func.func @define_symbol_c3(%c: tensor<i64>) {
  // expected-error @+1 {{expected a name that begins with count_, but got 'batch'}}
  lm.define_symbol "batch" = %c {bound = #lm.sym<4> : tensor<1xi64>} : tensor<i64>
  return
}

// -----

func.func @non_max_suppression_c1(%b: tensor<1x6x3xf32>, %s: tensor<1x2x6xf32>, %m: tensor<i64>, %t: tensor<f32>) {
  // expected-error @+1 {{expected boxes [B, N, 4] and scores [B, C, N] of one type}}
  %0 = lm.non_max_suppression %b, %s, %m, %t {center_point_box = false} : (tensor<1x6x3xf32>, tensor<1x2x6xf32>, tensor<i64>, tensor<f32>) -> tensor<1x2x6xi64>
  return
}

// -----

func.func @linear_attention_c1(%q: tensor<1x2x8xf32>, %v: tensor<1x2x7xf32>) {
  // expected-error @+2 {{expected query, key and value [B, T, width] of one type, with widths of 2 heads}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.linear_attention %q, %q, %v {num_heads = 2 : i64, scale = 1.0 : f64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0>} : (tensor<1x2x8xf32>, tensor<1x2x8xf32>, tensor<1x2x7xf32>) -> tensor<1x2x6x3xf32>
  return
}
