// RUN: llmopt-opt %s -verify-diagnostics -split-input-file

func.func @unranked(%a: tensor<*xf32>) {
  // expected-error @+1 {{operand #0 must be ranked tensor}}
  %0 = lm.exp %a : (tensor<*xf32>) -> tensor<*xf32>
  return
}

// -----

func.func @broadcast(%a: tensor<2xf32>, %b: tensor<3xf32>) {
  // expected-error @+2 {{expected operands that broadcast, but got 'tensor<2xf32>' and 'tensor<3xf32>'}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.add %a, %b : (tensor<2xf32>, tensor<3xf32>) -> tensor<3xf32>
  return
}

// -----

func.func @element_types(%a: tensor<2xf32>, %b: tensor<2xf16>) {
  // expected-error @+2 {{expected operands of one element type, but got 'tensor<2xf32>' and 'tensor<2xf16>'}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.mul %a, %b : (tensor<2xf32>, tensor<2xf16>) -> tensor<2xf32>
  return
}

// -----

func.func @where_types(%c: tensor<2xi1>, %a: tensor<2xf32>, %b: tensor<2xf16>) {
  // expected-error @+2 {{expected operands of one element type}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.where %c, %a, %b : (tensor<2xi1>, tensor<2xf32>, tensor<2xf16>) -> tensor<2xf32>
  return
}

// -----

func.func @result(%a: tensor<2xf32>) {
  // expected-error @+2 {{incompatible with return type(s) of operation}}
  // expected-error @+1 {{failed to infer returned types}}
  %0 = lm.exp %a : (tensor<2xf32>) -> tensor<3xf32>
  return
}

// -----

func.func @cast_c1(%a: tensor<2xf32>) {
  // expected-error @+1 {{expected compatible shapes, but got 'tensor<2xf32>' and 'tensor<3xi64>'}}
  %0 = lm.cast %a : (tensor<2xf32>) -> tensor<3xi64>
  return
}

// -----

func.func @clip_c1_count(%a: tensor<2xf32>) {
  // expected-error @+1 {{expected limits of one element, but got 'tensor<2xf32>'}}
  %0 = lm.clip %a max %a : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
  return
}

// -----

func.func @clip_c1_type(%a: tensor<2xf32>, %b: tensor<f16>) {
  // expected-error @+1 {{expected limits of the operand's element type, but got 'tensor<f16>'}}
  %0 = lm.clip %a max %b : (tensor<2xf32>, tensor<f16>) -> tensor<2xf32>
  return
}
