// RUN: llmopt-opt %s -verify-diagnostics -split-input-file

func.func @absmax_scale_c1(%a: tensor<2x3xf32>) {
  // expected-error @+2 {{expected distinct axes in [0, 2), but got 2}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.absmax_scale %a {axes = array<i64: 2>, qmax = 127.0 : f64} : (tensor<2x3xf32>) -> tensor<2x1xf32>
  return
}

// -----

func.func @absmax_scale_c2(%a: tensor<2x3xf32>) {
  // expected-error @+1 {{expected a positive qmax, but got 0}}
  %0 = lm.absmax_scale %a {axes = array<i64: 1>, qmax = 0.0 : f64} : (tensor<2x3xf32>) -> tensor<2x1xf32>
  return
}

// -----

func.func @quantize_c1(%a: tensor<2x3xf32>, %s: tensor<f32>, %z: tensor<ui8>) {
  // expected-error @+1 {{expected a zero point of type 'i8', but got 'tensor<ui8>'}}
  %0 = lm.quantize %a scale %s zero_point %z : (tensor<2x3xf32>, tensor<f32>, tensor<ui8>) -> tensor<2x3xi8>
  return
}

// -----

func.func @quantize_c2_scale(%a: tensor<2x3xf32>, %s: tensor<2xf32>) {
  // expected-error @+1 {{expected parameters that broadcast to 'tensor<2x3xf32>', but got 'tensor<2xf32>'}}
  %0 = lm.quantize %a scale %s : (tensor<2x3xf32>, tensor<2xf32>) -> tensor<2x3xi8>
  return
}

// -----

func.func @quantize_c2_shape(%a: tensor<2x3xf32>, %s: tensor<f32>) {
  // expected-error @+1 {{expected compatible shapes, but got 'tensor<2x3xf32>' and 'tensor<6xi8>'}}
  %0 = lm.quantize %a scale %s : (tensor<2x3xf32>, tensor<f32>) -> tensor<6xi8>
  return
}

// -----

func.func @quantize_c3(%a: tensor<2x3xf32>, %s: tensor<f32>) {
  // expected-error @+1 {{expected a signed result with narrow_range, but got 'tensor<2x3xui8>'}}
  %0 = lm.quantize %a scale %s {narrow_range = true} : (tensor<2x3xf32>, tensor<f32>) -> tensor<2x3xui8>
  return
}

// -----

func.func @dequantize_c1(%a: tensor<2x3xi8>, %s: tensor<f32>, %z: tensor<ui8>) {
  // expected-error @+1 {{expected a zero point of type 'i8', but got 'tensor<ui8>'}}
  %0 = lm.dequantize %a scale %s zero_point %z : (tensor<2x3xi8>, tensor<f32>, tensor<ui8>) -> tensor<2x3xf32>
  return
}

// -----

func.func @dequantize_c2(%a: tensor<2x3xi8>, %s: tensor<4x2x3xf32>) {
  // expected-error @+1 {{expected parameters that broadcast to 'tensor<2x3xi8>', but got 'tensor<4x2x3xf32>'}}
  %0 = lm.dequantize %a scale %s : (tensor<2x3xi8>, tensor<4x2x3xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @fake_quantize_c1_storage(%a: tensor<2x3xf32>, %s: tensor<f32>) {
  // expected-error @below {{expected integers of 2 to 16 bits as storage, but got 'f32'}}
  %0 = lm.fake_quantize %a scale %s as f32 : (tensor<2x3xf32>, tensor<f32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @fake_quantize_c1_width(%a: tensor<2x3xf32>, %s: tensor<f32>) {
  // expected-error @below {{expected integers of 2 to 16 bits as storage, but got 'i32'}}
  %0 = lm.fake_quantize %a scale %s as i32 : (tensor<2x3xf32>, tensor<f32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @fake_quantize_c1_zero_point(%a: tensor<2x3xf32>, %s: tensor<f32>, %z: tensor<ui8>) {
  // expected-error @below {{expected a zero point of type 'i8', but got 'tensor<ui8>'}}
  %0 = lm.fake_quantize %a scale %s zero_point %z as i8 : (tensor<2x3xf32>, tensor<f32>, tensor<ui8>) -> tensor<2x3xf32>
  return
}

// -----

func.func @fake_quantize_c1_scale(%a: tensor<2x3xf32>, %s: tensor<f16>) {
  // expected-error @below {{expected a scale of type 'f32', but got 'tensor<f16>'}}
  %0 = lm.fake_quantize %a scale %s as i8 : (tensor<2x3xf32>, tensor<f16>) -> tensor<2x3xf32>
  return
}

// -----

func.func @fake_quantize_c2(%a: tensor<2x3xf32>, %s: tensor<2xf32>) {
  // expected-error @below {{expected parameters that broadcast to 'tensor<2x3xf32>', but got 'tensor<2xf32>'}}
  %0 = lm.fake_quantize %a scale %s as i8 : (tensor<2x3xf32>, tensor<2xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @fake_quantize_c3(%a: tensor<2x3xf32>, %s: tensor<f32>) {
  // expected-error @below {{expected signed integers with narrow_range, but got 'ui8'}}
  %0 = lm.fake_quantize %a scale %s as ui8 {narrow_range = true} : (tensor<2x3xf32>, tensor<f32>) -> tensor<2x3xf32>
  return
}
