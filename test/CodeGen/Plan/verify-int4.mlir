// RUN: llmopt-opt %s --split-input-file --verify-diagnostics

// (C1) of kernel.pack_groups
func.func @pack(%w: tensor<1x16x16xi4>, %s: tensor<1x1x16xf32>) {
  // expected-error @+1 {{expected static 4-bit integers [K/G, G, N], G a multiple of 32, but got 'tensor<1x16x16xi4>'}}
  %0 = kernel.pack_groups 16 %w scale %s : (tensor<1x16x16xi4>, tensor<1x1x16xf32>) -> tensor<1x1x192xi8>
  return
}

// -----

// (C2)
func.func @pack_scale(%w: tensor<2x32x16xi4>, %s: tensor<1x1x16xf32>) {
  // expected-error @+1 {{expected one f32 scale for each group and column of 'tensor<2x32x16xi4>', but got 'tensor<1x1x16xf32>'}}
  %0 = kernel.pack_groups 16 %w scale %s : (tensor<2x32x16xi4>, tensor<1x1x16xf32>) -> tensor<1x2x320xi8>
  return
}

// -----

func.func @pack_zero(%w: tensor<2x32x16xi4>, %s: tensor<2x1x16xf32>, %z: tensor<2x1x16xui4>) {
  // expected-error @+1 {{expected one zero point for each group and column of 'tensor<2x32x16xi4>', but got 'tensor<2x1x16xui4>'}}
  %0 = kernel.pack_groups 16 %w scale %s zero_point %z : (tensor<2x32x16xi4>, tensor<2x1x16xf32>, tensor<2x1x16xui4>) -> tensor<1x2x384xi8>
  return
}

// -----

// (C3)
func.func @pack_result(%w: tensor<2x32x16xi4>, %s: tensor<2x1x16xf32>) {
  // expected-error @+1 {{expected the result 'tensor<1x2x320xi8>', but got 'tensor<1x2x384xi8>'}}
  %0 = kernel.pack_groups 16 %w scale %s : (tensor<2x32x16xi4>, tensor<2x1x16xf32>) -> tensor<1x2x384xi8>
  return
}

// -----

// (C1) of kernel.gemm_w4a8
func.func @group(%q: tensor<4x64xi8>, %s: tensor<4x1xf32>, %w: tensor<1x2x320xi8>) {
  // expected-error @+1 {{expected a group that is a multiple of 32 and divides k, but got n = 16, k = 64 and group = 48}}
  %0 = kernel.gemm_w4a8 %q scale %s, %w {n = 16 : i64, k = 64 : i64, group = 48 : i64, offset = 8 : i64} : (tensor<4x64xi8>, tensor<4x1xf32>, tensor<1x2x320xi8>) -> tensor<4x16xf32>
  return
}

// -----

func.func @weight(%q: tensor<4x64xi8>, %s: tensor<4x1xf32>, %w: tensor<1x2x330xi8>) {
  // expected-error @+1 {{expected a weight of k = 64 and n = 16 packed in groups of 32, but got 'tensor<1x2x330xi8>'}}
  %0 = kernel.gemm_w4a8 %q scale %s, %w {n = 16 : i64, k = 64 : i64, group = 32 : i64, offset = 8 : i64} : (tensor<4x64xi8>, tensor<4x1xf32>, tensor<1x2x330xi8>) -> tensor<4x16xf32>
  return
}

// -----

// (C2)
func.func @input(%q: tensor<4x32xi8>, %s: tensor<4x1xf32>, %w: tensor<1x2x320xi8>) {
  // expected-error @+1 {{expected i8 rows of 64 elements, but got 'tensor<4x32xi8>' for 'tensor<4x16xf32>'}}
  %0 = kernel.gemm_w4a8 %q scale %s, %w {n = 16 : i64, k = 64 : i64, group = 32 : i64, offset = 8 : i64} : (tensor<4x32xi8>, tensor<4x1xf32>, tensor<1x2x320xi8>) -> tensor<4x16xf32>
  return
}

// -----

// (C3)
func.func @input_scale(%q: tensor<4x64xi8>, %s: tensor<4x3xf32>, %w: tensor<1x2x320xi8>) {
  // expected-error @+1 {{expected 2 scales or one for each row of 'tensor<4x16xf32>', but got 'tensor<4x3xf32>'}}
  %0 = kernel.gemm_w4a8 %q scale %s, %w {n = 16 : i64, k = 64 : i64, group = 32 : i64, offset = 8 : i64} : (tensor<4x64xi8>, tensor<4x3xf32>, tensor<1x2x320xi8>) -> tensor<4x16xf32>
  return
}

// -----

// (C2) of kernel.gemm_wq
func.func @column_scale(%x: tensor<4x64xf32>, %w: tensor<1x64x16xi8>) {
  // expected-error @+1 {{expected 16 scales exactly where group is 0}}
  %0 = kernel.gemm_wq %x, %w {n = 16 : i64, k = 64 : i64, group = 0 : i64, offset = 0 : i64} : (tensor<4x64xf32>, tensor<1x64x16xi8>) -> tensor<4x16xf32>
  return
}

// -----

// (C3)
func.func @float_rows(%x: tensor<4x65xf32>, %w: tensor<1x2x320xi8>) {
  // expected-error @+1 {{expected rows of 64 elements, but got 'tensor<4x65xf32>' for 'tensor<4x16xf32>'}}
  %0 = kernel.gemm_wq %x, %w {n = 16 : i64, k = 64 : i64, group = 32 : i64, offset = 8 : i64} : (tensor<4x65xf32>, tensor<1x2x320xi8>) -> tensor<4x16xf32>
  return
}

// -----

// (C3) of kernel.norm_quantized
func.func @quantized(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{expected an i8 or f8E4M3FN result of the shape of 'tensor<4x8xf32>', but got 'tensor<4x8xi16>'}}
  %0, %1, %2 = kernel.norm_quantized <rms> %x {epsilon = 1.0e-5 : f64} : (tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xi16>, tensor<4x1xf32>)
  return
}

// -----

// (C4)
func.func @quantized_scale(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{expected one f32 scale for each row of 'tensor<4x8xf32>' or for equal parts of it, but got 'tensor<4x3xf32>'}}
  %0, %1, %2 = kernel.norm_quantized <rms> %x {epsilon = 1.0e-5 : f64} : (tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xi8>, tensor<4x3xf32>)
  return
}

// -----

func.func @c3_rows(%q: tensor<1x32x20xi4>, %s: tensor<1x1x20xf32>) -> tensor<400xi8> {
  // expected-error @+1 {{expected panels of a positive width or rows of width 1, but got rows of 4}}
  %0 = kernel.pack_groups 4 %q scale %s {layout = #kernel.layout<rows>} : (tensor<1x32x20xi4>, tensor<1x1x20xf32>) -> tensor<400xi8>
  return %0 : tensor<400xi8>
}

// -----

func.func @c1_half_scales(%x: tensor<4x32xf32>, %w: tensor<400xi8>) -> tensor<4x20xf32> {
  // expected-error @+1 {{packed in groups of 32}}
  %0 = kernel.gemm_wq %x, %w {n = 20 : i64, k = 32 : i64, group = 32 : i64, offset = 8 : i64, layout = #kernel.layout<rows>, half_scales = true} : (tensor<4x32xf32>, tensor<400xi8>) -> tensor<4x20xf32>
  return %0 : tensor<4x20xf32>
}
