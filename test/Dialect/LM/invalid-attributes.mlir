// RUN: llmopt-opt %s -verify-diagnostics -split-input-file

// expected-error @+1 {{expected 1 entries in #lm.dims, but got 2}}
func.func @dims_rank(%a: tensor<?xf32, #lm.dims<"a", "b">>) { return }

// -----

// expected-error @+1 {{expected #lm.dims to agree with the shape, but got "5" for 4}}
func.func @dims_static(%a: tensor<?x4xf32, #lm.dims<"a", 5>>) { return }

// -----

// expected-error @+1 {{expected #lm.dims to agree with the shape, but got "5" for ?}}
func.func @dims_dynamic(%a: tensor<?xf32, #lm.dims<5>>) { return }

// -----

// expected-error @+1 {{expected a size expression, but got "a +"}}
func.func @dims_text(%a: tensor<?xf32, #lm.dims<"a +">>) { return }

// -----

func.func @sym_count() {
  // expected-error @+1 {{expected a static integer tensor of 2 elements, but got 'tensor<3xi64>'}}
  %0 = lm.constant #lm.sym<"a", 1> : tensor<3xi64>
  return
}
