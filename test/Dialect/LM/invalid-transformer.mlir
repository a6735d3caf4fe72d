// RUN: llmopt-opt %s -verify-diagnostics -split-input-file

func.func @norm_c1(%a: tensor<2x3xf32>, %s: tensor<2xf32>) {
  // expected-error @+1 {{expected scale and bias of 3 elements, but got 'tensor<2xf32>'}}
  %0 = lm.norm <rms> %a scale %s {epsilon = 1.0 : f64} : (tensor<2x3xf32>, tensor<2xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @norm_c2(%a: tensor<2x3xf32>) {
  // expected-error @+1 {{expected an epsilon that is not negative, but got -1}}
  %0 = lm.norm <rms> %a {epsilon = -1.0 : f64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @norm_rank(%a: tensor<f32>) {
  // expected-error @+1 {{expected an operand of rank 1 or more}}
  %0 = lm.norm <rms> %a {epsilon = 1.0 : f64} : (tensor<f32>) -> tensor<f32>
  return
}

// -----

func.func @embedding_c1(%t: tensor<2x3x4xf32>, %i: tensor<2xi64>) {
  // expected-error @+2 {{expected a table of rank 2, but got 'tensor<2x3x4xf32>'}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.embedding %t, %i : (tensor<2x3x4xf32>, tensor<2xi64>) -> tensor<2x4xf32>
  return
}

// -----

func.func @embedding_grad_c1(%g: tensor<2x4xf32>, %i: tensor<2x1xi64>) {
  // expected-error @+1 {{expected gradient rows for every id}}
  %0 = lm.embedding_grad %i, %g : (tensor<2x1xi64>, tensor<2x4xf32>) -> tensor<9x4xf32>
  return
}

// -----

func.func @attention_c1_rank(%q: tensor<2x4xf32>) {
  // expected-error @+1 {{expected operands of rank 3}}
  %0 = lm.attention %q, %q, %q {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 1.0 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<nan>} : (tensor<2x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  return
}

// -----

func.func @attention_c1_type(%q: tensor<1x2x4xf32>, %k: tensor<1x2x4xf16>) {
  // expected-error @+1 {{expected operands of one element type}}
  %0 = lm.attention %q, %k, %k {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 1.0 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<nan>} : (tensor<1x2x4xf32>, tensor<1x2x4xf16>, tensor<1x2x4xf16>) -> tensor<1x2x4xf32>
  return
}

// -----

func.func @attention_c1_lengths(%q: tensor<1x2x4xf32>, %v: tensor<1x3x4xf32>) {
  // expected-error @+1 {{expected equal batch and key lengths}}
  %0 = lm.attention %q, %q, %v {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 1.0 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<nan>} : (tensor<1x2x4xf32>, tensor<1x2x4xf32>, tensor<1x3x4xf32>) -> tensor<1x2x4xf32>
  return
}

// -----

func.func @attention_c2_heads(%q: tensor<1x2x6xf32>) {
  // expected-error @+1 {{expected a head count that is a multiple of 2, but got 3}}
  %0 = lm.attention %q, %q, %q {num_heads = 3 : i64, kv_num_heads = 2 : i64, scale = 1.0 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<nan>} : (tensor<1x2x6xf32>, tensor<1x2x6xf32>, tensor<1x2x6xf32>) -> tensor<1x2x6xf32>
  return
}

// -----

func.func @attention_c2_widths(%q: tensor<1x2x6xf32>, %k: tensor<1x2x4xf32>) {
  // expected-error @+1 {{expected widths of 2 and 2 heads}}
  %0 = lm.attention %q, %k, %k {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 1.0 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<nan>} : (tensor<1x2x6xf32>, tensor<1x2x4xf32>, tensor<1x2x4xf32>) -> tensor<1x2x4xf32>
  return
}

// -----

func.func @attention_c3_present(%q: tensor<1x2x4xf32>) {
  // expected-error @+1 {{expected a mask exactly where mask_kind is not none}}
  %0 = lm.attention %q, %q, %q {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 1.0 : f64, mask_kind = #lm.mask_kind<boolean>, fully_masked = #lm.fully_masked<nan>} : (tensor<1x2x4xf32>, tensor<1x2x4xf32>, tensor<1x2x4xf32>) -> tensor<1x2x4xf32>
  return
}

// -----

func.func @attention_c3_form(%q: tensor<1x2x4xf32>, %m: tensor<1x1x1x2xf32>) {
  // expected-error @+1 {{expected a mask of kind boolean, but got 'tensor<1x1x1x2xf32>'}}
  %0 = lm.attention %q, %q, %q mask %m {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 1.0 : f64, mask_kind = #lm.mask_kind<boolean>, fully_masked = #lm.fully_masked<nan>} : (tensor<1x2x4xf32>, tensor<1x2x4xf32>, tensor<1x2x4xf32>, tensor<1x1x1x2xf32>) -> tensor<1x2x4xf32>
  return
}
