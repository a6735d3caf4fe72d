// RUN: llmopt-opt %s -verify-diagnostics -split-input-file

func.func @reshape_c1(%a: tensor<2x3xf32>) {
  // expected-error @+1 {{expected 6 elements, but got 5}}
  %0 = lm.reshape %a : (tensor<2x3xf32>) -> tensor<5xf32>
  return
}

// -----

func.func @reshape_c1_symbolic(%a: tensor<?x4xf32, #lm.dims<"n", 4>>) {
  // expected-error @+1 {{expected 4*n elements, but got 8*n}}
  %0 = lm.reshape %a : (tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<?xf32, #lm.dims<"8*n">>
  return
}

// -----

func.func @reshape_c1_type(%a: tensor<6xf32>) {
  // expected-error @+1 {{expected one element type}}
  %0 = lm.reshape %a : (tensor<6xf32>) -> tensor<6xf16>
  return
}

// -----

func.func @broadcast_c1(%a: tensor<2xf32>) {
  // expected-error @+1 {{expected dimension 0 to be 1 or 3, but got 2}}
  %0 = lm.broadcast %a : (tensor<2xf32>) -> tensor<3xf32>
  return
}

// -----

func.func @broadcast_c1_rank(%a: tensor<1x3xf32>) {
  // expected-error @+1 {{expected a rank of at least 2, but got 1}}
  %0 = lm.broadcast %a : (tensor<1x3xf32>) -> tensor<3xf32>
  return
}

// -----

func.func @transpose_c1(%a: tensor<2x3xf32>) {
  // expected-error @+2 {{expected a permutation of 2 dimensions}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.transpose %a {perm = array<i64: 0, 0>} : (tensor<2x3xf32>) -> tensor<2x2xf32>
  return
}

// -----

func.func @concat_c1(%a: tensor<2xf32>) {
  // expected-error @+2 {{expected axis in [0, 1), but got 1}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.concat %a {axis = 1 : i64} : (tensor<2xf32>) -> tensor<2xf32>
  return
}

// -----

func.func @concat_none() {
  // expected-error @+2 {{expected at least one operand}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = "lm.concat"() {axis = 0 : i64} : () -> tensor<2xf32>
  return
}

// -----

func.func @concat_c2_type(%a: tensor<2xf32>, %b: tensor<2xf16>) {
  // expected-error @+2 {{expected operands of one rank and element type}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.concat %a, %b {axis = 0 : i64} : (tensor<2xf32>, tensor<2xf16>) -> tensor<4xf32>
  return
}

// -----

func.func @concat_c2_dims(%a: tensor<2x3xf32>, %b: tensor<2x4xf32>) {
  // expected-error @+2 {{expected equal dimensions 1, but got 'tensor<2x3xf32>' and 'tensor<2x4xf32>'}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.concat %a, %b {axis = 0 : i64} : (tensor<2x3xf32>, tensor<2x4xf32>) -> tensor<4x3xf32>
  return
}

// -----

func.func @slice_c1_rank(%a: tensor<4xf32>) {
  // expected-error @+1 {{expected 1 starts, steps and result dimensions, but got 2, 1 and 1}}
  %0 = lm.slice %a {starts = #lm.sym<0, 0> : tensor<2xi64>, steps = array<i64: 1>} : (tensor<4xf32>) -> tensor<2xf32>
  return
}

// -----

func.func @slice_c1_step(%a: tensor<4xf32>) {
  // expected-error @+1 {{expected a step other than 0 for dimension 0}}
  %0 = lm.slice %a {starts = #lm.sym<0> : tensor<1xi64>, steps = array<i64: 0>} : (tensor<4xf32>) -> tensor<2xf32>
  return
}

// -----

func.func @slice_c2(%a: tensor<4xf32>) {
  // expected-error @+1 {{expected indices inside dimension 0 of 'tensor<4xf32>', but got 2 to 4}}
  %0 = lm.slice %a {starts = #lm.sym<2> : tensor<1xi64>, steps = array<i64: 2>} : (tensor<4xf32>) -> tensor<2xf32>
  return
}

// -----

func.func @slice_c2_backwards(%a: tensor<4xf32>) {
  // expected-error @+1 {{but got 1 to -1}}
  %0 = lm.slice %a {starts = #lm.sym<1> : tensor<1xi64>, steps = array<i64: -1>} : (tensor<4xf32>) -> tensor<3xf32>
  return
}

// -----

func.func @slice_c2_overflow(%a: tensor<?xf32>) {
  // expected-error @+1 {{expected indices inside dimension 0}}
  %0 = lm.slice %a {starts = #lm.sym<9223372036854775807> : tensor<1xi64>, steps = array<i64: 2>} : (tensor<?xf32>) -> tensor<3xf32>
  return
}

// -----

func.func @pad_c1(%a: tensor<4xf32>, %v: tensor<f32>) {
  // expected-error @+1 {{expected 1 entries in low and high, but got 1 and 2}}
  %0 = lm.pad %a, %v {low = #lm.sym<0> : tensor<1xi64>, high = #lm.sym<0, 0> : tensor<2xi64>} : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  return
}

// -----

func.func @pad_c2(%a: tensor<4xf32>, %v: tensor<2xf32>) {
  // expected-error @+1 {{expected one 'f32' as value, but got 'tensor<2xf32>'}}
  %0 = lm.pad %a, %v {low = #lm.sym<0> : tensor<1xi64>, high = #lm.sym<0> : tensor<1xi64>} : (tensor<4xf32>, tensor<2xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @pad_c3_negative(%a: tensor<4xf32>, %v: tensor<f32>) {
  // expected-error @+1 {{expected counts that are not negative, but got -1 and 0}}
  %0 = lm.pad %a, %v {low = #lm.sym<-1> : tensor<1xi64>, high = #lm.sym<0> : tensor<1xi64>} : (tensor<4xf32>, tensor<f32>) -> tensor<3xf32>
  return
}

// -----

func.func @pad_c3_result(%a: tensor<4xf32>, %v: tensor<f32>) {
  // expected-error @+1 {{expected dimension 0 of the result to be 5, but got 6}}
  %0 = lm.pad %a, %v {low = #lm.sym<1> : tensor<1xi64>, high = #lm.sym<0> : tensor<1xi64>} : (tensor<4xf32>, tensor<f32>) -> tensor<6xf32>
  return
}

// -----

func.func @gather_c1(%a: tensor<4xf32>, %i: tensor<1xi64>) {
  // expected-error @+2 {{expected axis in [0, 1), but got -1}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.gather %a, %i {axis = -1 : i64} : (tensor<4xf32>, tensor<1xi64>) -> tensor<1xf32>
  return
}

// -----

func.func @gather_elements_c1(%a: tensor<4xf32>, %i: tensor<1x1xi64>) {
  // expected-error @+2 {{expected operands of one rank and axis in [0, 1)}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.gather_elements %a, %i {axis = 0 : i64} : (tensor<4xf32>, tensor<1x1xi64>) -> tensor<1x1xf32>
  return
}

// -----

func.func @gather_nd_c1(%a: tensor<4xf32>, %i: tensor<1x2xi64>) {
  // expected-error @+2 {{expected index tuples of 1 to 1 elements, but got 'tensor<1x2xi64>'}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.gather_nd %a, %i {batch_dims = 0 : i64} : (tensor<4xf32>, tensor<1x2xi64>) -> tensor<1xf32>
  return
}

// -----

func.func @iota_c1() {
  // expected-error @+1 {{expected axis in [0, 1), but got 1}}
  %0 = lm.iota {axis = 1 : i64} : () -> tensor<4xi64>
  return
}

// -----

func.func @trilu_c1(%a: tensor<4xf32>) {
  // expected-error @+2 {{expected a rank of at least 2, but got 'tensor<4xf32>'}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.trilu %a {diagonal = 0 : i64, upper = true} : (tensor<4xf32>) -> tensor<4xf32>
  return
}
