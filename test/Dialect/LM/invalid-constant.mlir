// RUN: llmopt-opt %s -verify-diagnostics -split-input-file

func.func @constant_c1() {
  // expected-error @+1 {{failed to verify that all of {value, result} have same type}}
  %0 = "lm.constant"() {value = dense<0> : tensor<2xi64>} : () -> tensor<3xi64>
  return
}

// -----

func.func @weight_c1() {
  // expected-error @+1 {{expected a static type, but got 'tensor<?xf32>'}}
  %0 = lm.weight "w" from(#lm.file<"m", 0, 8>) : tensor<?xf32>
  return
}

// -----

func.func @weight_c2_elements() {
  // expected-error @+1 {{expected a source of type 'tensor<3xf32>', but got 'tensor<2xf32>'}}
  %0 = lm.weight "w" from(dense<0.0> : tensor<2xf32>) : tensor<3xf32>
  return
}

// -----

func.func @weight_c2_file() {
  // expected-error @+1 {{expected 12 bytes in the file, but got 8}}
  %0 = lm.weight "w" from(#lm.file<"m", 0, 8>) : tensor<3xf32>
  return
}

// -----

func.func @weight_c2_overflow() {
  // expected-error @+1 {{expected a type whose bytes can be counted}}
  %0 = lm.weight "w" from(#lm.file<"m", 0, 0>) : tensor<4294967296x4294967296xf32>
  return
}

// -----

func.func @weight_source() {
  // expected-error @+1 {{expected elements, #lm.file or #lm.drawn as source, but got "m"}}
  %0 = lm.weight "w" from("m") : tensor<3xf32>
  return
}
