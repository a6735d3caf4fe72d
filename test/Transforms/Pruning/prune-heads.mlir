// The head with the largest rows of the output projection stays.
// RUN: llmopt-opt %s -split-input-file -verify-diagnostics -pass-pipeline='builtin.module(func.func(lm-prune-heads{keep=1}))' | FileCheck %s

!x = tensor<?x?x4xf32, #lm.dims<"b", "s", 4>>

// Head 1 (rows 2 and 3 of %o) wins: columns 2 and 3 of the projections stay.
// CHECK-LABEL: func.func @second_head
// CHECK: lm.slice %{{.*}} {starts = #lm.sym<0, 2> : tensor<2xi64>{{.*}} -> tensor<4x2xf32>
// CHECK: lm.attention {{.*}}lm.kept_heads = array<i64: 1>{{.*}}num_heads = 1
// CHECK: lm.slice %{{.*}} {starts = #lm.sym<2, 0> : tensor<2xi64>{{.*}} -> tensor<2x4xf32>
func.func @second_head(%x: !x) -> !x {
  %w = lm.weight "w" from(dense<1.0> : tensor<4x4xf32>) : tensor<4x4xf32>
  %o = lm.weight "o" from(dense<[[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]> : tensor<4x4xf32>) : tensor<4x4xf32>
  %q = lm.linear %x, %w : (!x, tensor<4x4xf32>) -> !x
  %k = lm.linear %x, %w : (!x, tensor<4x4xf32>) -> !x
  %v = lm.linear %x, %w : (!x, tensor<4x4xf32>) -> !x
  %a = lm.attention %q, %k, %v {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 1.0 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<source>} : (!x, !x, !x) -> !x
  %y = lm.linear %a, %o : (!x, tensor<4x4xf32>) -> !x
  return %y : !x
}

// -----

!x = tensor<?x?x4xf32, #lm.dims<"b", "s", 4>>
func.func @no_projection(%x: !x) -> !x {
  // expected-error @+1 {{cannot prune heads: expected query, key and value from linear layers}}
  %a = lm.attention %x, %x, %x {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 1.0 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<source>} : (!x, !x, !x) -> !x
  return %a : !x
}
