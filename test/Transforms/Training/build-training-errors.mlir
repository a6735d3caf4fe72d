// RUN: llmopt-opt %s -split-input-file -verify-diagnostics -lm-build-training

// What has no rule on an active path is named, with the path.
func.func @main(%x: tensor<2x4xf32> {lm.name = "x"}) -> (tensor<2x3xf32> {lm.name = "logits"}) {
  %w = lm.weight "w" from(dense<1.0> : tensor<4x3xf32>) : tensor<4x3xf32>
  %y = lm.linear %x, %w : (tensor<2x4xf32>, tensor<4x3xf32>) -> tensor<2x3xf32>
  // expected-error @+1 {{no gradient for lm.cum_prod on the path lm.cum_prod}}
  %z = lm.cum_prod %y {axis = 1 : i64, exclusive = false, reverse = false} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %z : tensor<2x3xf32>
}

// -----

// What a region reads of the values around it is active, too.
func.func @main(%x: tensor<2x4xf32> {lm.name = "x"}, %c: tensor<i1> {lm.name = "c"}) -> (tensor<2x3xf32> {lm.name = "logits"}) {
  %w = lm.weight "w" from(dense<1.0> : tensor<4x3xf32>) : tensor<4x3xf32>
  %y = lm.linear %x, %w : (tensor<2x4xf32>, tensor<4x3xf32>) -> tensor<2x3xf32>
  // expected-error @+1 {{no gradient for lm.if on the path lm.if}}
  %z = lm.if %c : (tensor<i1>) -> tensor<2x3xf32> {
    lm.yield %y : tensor<2x3xf32>
  } else {
    %n = lm.neg %y : (tensor<2x3xf32>) -> tensor<2x3xf32>
    lm.yield %n : tensor<2x3xf32>
  }
  return %z : tensor<2x3xf32>
}

// -----

// expected-error @+1 {{expected logits [batch, .., classes] as the first output, but got tensor<3xf32>}}
func.func @main(%x: tensor<3xf32> {lm.name = "x"}) -> (tensor<3xf32> {lm.name = "y"}) {
  %w = lm.weight "w" from(dense<1.0> : tensor<3xf32>) : tensor<3xf32>
  %y = lm.mul %x, %w : (tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>
  return %y : tensor<3xf32>
}

// -----

// expected-error @+1 {{expected f32 weights to train, but the model has none}}
func.func @main(%x: tensor<2x3xf32> {lm.name = "x"}) -> (tensor<2x3xf32> {lm.name = "y"}) {
  return %x : tensor<2x3xf32>
}
