// RUN: llmopt-opt %s -lm-verify-level=level=1 -verify-diagnostics -split-input-file

func.func @good(%a: tensor<?x?xf32, #lm.dims<"n", ?>>) -> tensor<2xi64> {
  %0 = lm.shape %a : (tensor<?x?xf32, #lm.dims<"n", ?>>) -> tensor<2xi64>
  return %0 : tensor<2xi64>
}

// -----

func.func @unbound(%a: tensor<?xf32, #lm.dims<"n">>) {
  // expected-error @+1 {{expected symbols that are dimensions of inputs, but got "m"}}
  %0 = lm.constant #lm.sym<"n", "m"> : tensor<2xi64>
  return
}

// -----

func.func @weights() {
  // expected-note @+1 {{the other one is here}}
  %0 = lm.weight "w" from(dense<1.0> : tensor<2xf32>) : tensor<2xf32>
  // expected-error @+1 {{expected one weight named "w"}}
  %1 = lm.weight "w" from(dense<1.0> : tensor<2xf32>) : tensor<2xf32>
  return
}

// -----

func.func @foreign() {
  // expected-error @+1 {{expected operations of the lm dialect, but got func.call}}
  func.call @foreign() : () -> ()
  return
}

// -----

func.func @shape(%a: tensor<?xf32, #lm.dims<"n">>) -> tensor<1xi64> {
  // expected-error @+1 {{expected no computation of the shape}}
  %0 = lm.shape %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<1xi64>
  return %0 : tensor<1xi64>
}
