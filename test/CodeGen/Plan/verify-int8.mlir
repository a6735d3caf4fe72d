// RUN: llmopt-opt %s --split-input-file --verify-diagnostics

// (C3) of kernel.pack
func.func @pack(%w: tensor<8x16xf32>) {
  // expected-error @+1 {{expected 8-bit integers for quads, but got 'tensor<8x16xf32>'}}
  %0 = kernel.pack <quads> 16 %w : (tensor<8x16xf32>) -> tensor<1x3x64xf32>
  return
}

// -----

// (C1) of kernel.quantize_rows
func.func @rows(%x: tensor<4x?xf32>) {
  // expected-error @+1 {{expected f32, f16 or bf16 rows of known width, but got 'tensor<4x?xf32>'}}
  %0, %1 = kernel.quantize_rows %x : (tensor<4x?xf32>) -> (tensor<4x?xi8>, tensor<4x1xf32>)
  return
}

// -----

// (C2)
func.func @rows_result(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{expected an i8 or f8E4M3FN result of the shape of 'tensor<4x8xf32>', but got 'tensor<4x8xi16>'}}
  %0, %1 = kernel.quantize_rows %x : (tensor<4x8xf32>) -> (tensor<4x8xi16>, tensor<4x1xf32>)
  return
}

// -----

// (C3)
func.func @rows_scale(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{expected one f32 scale for each row of 'tensor<4x8xf32>', but got 'tensor<4x8xf32>'}}
  %0, %1 = kernel.quantize_rows %x : (tensor<4x8xf32>) -> (tensor<4x8xi8>, tensor<4x8xf32>)
  return
}

// -----

// (C1) of kernel.gemm_s8
func.func @weight(%q: tensor<4x8xi8>, %s: tensor<4x1xf32>, %w: tensor<1x8x16xi8>, %t: tensor<16xf32>) {
  // expected-error @+1 {{expected an i8 weight of k = 8 and n = 16 packed in quads, but got 'tensor<1x8x16xi8>'}}
  %0 = kernel.gemm_s8 <quads> %q scale %s, %w scale %t {k = 8 : i64, n = 16 : i64} : (tensor<4x8xi8>, tensor<4x1xf32>, tensor<1x8x16xi8>, tensor<16xf32>) -> tensor<4x16xf32>
  return
}

// -----

// (C2)
func.func @input(%q: tensor<4x9xi8>, %s: tensor<4x1xf32>, %w: tensor<1x8x16xi8>, %t: tensor<16xf32>) {
  // expected-error @+1 {{expected i8 rows of 8 elements, but got 'tensor<4x9xi8>' for 'tensor<4x16xf32>'}}
  %0 = kernel.gemm_s8 <panels> %q scale %s, %w scale %t {k = 8 : i64, n = 16 : i64} : (tensor<4x9xi8>, tensor<4x1xf32>, tensor<1x8x16xi8>, tensor<16xf32>) -> tensor<4x16xf32>
  return
}

// -----

// (C3)
func.func @input_scale(%q: tensor<4x8xi8>, %s: tensor<3x1xf32>, %w: tensor<1x8x16xi8>, %t: tensor<16xf32>) {
  // expected-error @+1 {{expected one scale for each row of 'tensor<4x16xf32>' or one, but got 'tensor<3x1xf32>'}}
  %0 = kernel.gemm_s8 <panels> %q scale %s, %w scale %t {k = 8 : i64, n = 16 : i64} : (tensor<4x8xi8>, tensor<3x1xf32>, tensor<1x8x16xi8>, tensor<16xf32>) -> tensor<4x16xf32>
  return
}

// -----

// (C4)
func.func @weight_scale(%q: tensor<4x8xi8>, %s: tensor<4x1xf32>, %w: tensor<1x8x16xi8>, %t: tensor<15xf32>) {
  // expected-error @+1 {{expected 16 elements, but got 'tensor<15xf32>'}}
  %0 = kernel.gemm_s8 <panels> %q scale %s, %w scale %t {k = 8 : i64, n = 16 : i64} : (tensor<4x8xi8>, tensor<4x1xf32>, tensor<1x8x16xi8>, tensor<15xf32>) -> tensor<4x16xf32>
  return
}

// -----

// (C5)
func.func @deep(%q: tensor<4x131072xi8>, %s: tensor<4x1xf32>, %w: tensor<1x131072x16xi8>, %t: tensor<16xf32>) {
  // expected-error @+1 {{expected n >= 1 and 1 <= k <= 131071, but got n = 16 and k = 131072}}
  %0 = kernel.gemm_s8 <panels> %q scale %s, %w scale %t {k = 131072 : i64, n = 16 : i64} : (tensor<4x131072xi8>, tensor<4x1xf32>, tensor<1x131072x16xi8>, tensor<16xf32>) -> tensor<4x16xf32>
  return
}

// -----

// (C6)
func.func @zero_point(%q: tensor<4x8xi8>, %s: tensor<f32>, %z: tensor<2xi8>, %c: tensor<16xi32>, %w: tensor<1x8x16xi8>, %t: tensor<16xf32>) {
  // expected-error @+1 {{expected one i8 as zero point, but got 'tensor<2xi8>'}}
  %0 = kernel.gemm_s8 <panels> %q scale %s zero_point %z sums %c, %w scale %t {k = 8 : i64, n = 16 : i64} : (tensor<4x8xi8>, tensor<f32>, tensor<2xi8>, tensor<16xi32>, tensor<1x8x16xi8>, tensor<16xf32>) -> tensor<4x16xf32>
  return
}

// -----

func.func @sums(%q: tensor<4x8xi8>, %s: tensor<f32>, %z: tensor<i8>, %c: tensor<8xi32>, %w: tensor<1x8x16xi8>, %t: tensor<16xf32>) {
  // expected-error @+1 {{expected 16 i32 column sums, but got 'tensor<8xi32>'}}
  %0 = kernel.gemm_s8 <panels> %q scale %s zero_point %z sums %c, %w scale %t {k = 8 : i64, n = 16 : i64} : (tensor<4x8xi8>, tensor<f32>, tensor<i8>, tensor<8xi32>, tensor<1x8x16xi8>, tensor<16xf32>) -> tensor<4x16xf32>
  return
}

// -----

// (C3) of kernel.quantize_tensor
func.func @tensor_scale(%x: tensor<4x8xf32>, %s: tensor<4x1xf32>) {
  // expected-error @+1 {{expected one f32 scale, but got 'tensor<4x1xf32>'}}
  %0 = kernel.quantize_tensor %x scale %s : (tensor<4x8xf32>, tensor<4x1xf32>) -> tensor<4x8xi8>
  return
}

// -----

// (C1) of kernel.column_sums
func.func @column_sums(%w: tensor<4x8xi16>) {
  // expected-error @+1 {{expected a static i8 matrix, but got 'tensor<4x8xi16>'}}
  %0 = kernel.column_sums %w : (tensor<4x8xi16>) -> tensor<8xi32>
  return
}

// -----

// (C4) of kernel.norm_quantized_tensor
func.func @norm_scale(%x: tensor<4x8xf32>, %s: tensor<2xf32>) {
  // expected-error @+1 {{expected one f32 scale, but got 'tensor<2xf32>'}}
  %0, %1 = kernel.norm_quantized_tensor <rms> %x quantized %s {epsilon = 1.0e-5 : f64} : (tensor<4x8xf32>, tensor<2xf32>) -> (tensor<4x8xf32>, tensor<4x8xi8>)
  return
}

// -----

// (C4)
func.func @norm_zero_point(%x: tensor<4x8xf32>, %s: tensor<f32>, %z: tensor<ui8>) {
  // expected-error @+1 {{expected one i8 zero point, but got 'tensor<ui8>'}}
  %0, %1 = kernel.norm_quantized_tensor <rms> %x quantized %s zero_point %z {epsilon = 1.0e-5 : f64} : (tensor<4x8xf32>, tensor<f32>, tensor<ui8>) -> (tensor<4x8xf32>, tensor<4x8xi8>)
  return
}

// -----

// (C4) of kernel.attention
func.func @attention_scales(%q: tensor<1x4x16xf32>, %k: tensor<1x4x16xi8>, %s: tensor<1x4x3xf32>) {
  // expected-error @+1 {{expected key and value of the type of the query, or both of i8 with a scale per token and head, but got 'tensor<1x4x16xi8>' and 'tensor<1x4x16xi8>'}}
  %0 = kernel.attention %q, %k, %k scales %s, %s {num_heads = 2 : i64, kv_num_heads = 2 : i64, head_dim = 8 : i64, value_head_dim = 8 : i64, q_offset = 0 : i64, k_offset = 0 : i64, v_offset = 0 : i64, scale = 1.0 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<source>} : (tensor<1x4x16xf32>, tensor<1x4x16xi8>, tensor<1x4x16xi8>, tensor<1x4x3xf32>, tensor<1x4x3xf32>) -> tensor<1x4x16xf32>
  return
}
