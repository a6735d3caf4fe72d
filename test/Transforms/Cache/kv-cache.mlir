// RUN: llmopt-opt %s --split-input-file --lm-kv-cache --lm-cleanup --verify-diagnostics | FileCheck %s

// Keys by head, as transformers keeps them; values by token.
!new = tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
!heads = tensor<?x2x?x4xf32, #lm.dims<"b", 2, "s", 4>>
!past = tensor<?x2x?x4xf32, #lm.dims<"b", 2, "p", 4>>
!present = tensor<?x2x?x4xf32, #lm.dims<"b", 2, "p + s", 4>>
!rows = tensor<?x?x8xf32, #lm.dims<"b", "p", 8>>
!all = tensor<?x?x8xf32, #lm.dims<"b", "p + s", 8>>

// CHECK: func.func @main(%arg0: tensor<?x?x8xf32, #lm.dims<"b", "s", 8>> {lm.name = "x"},
// CHECK-SAME: %arg1: tensor<?x?x8xf32, #lm.dims<"b", "cache_capacity", 8>> {lm.cache, lm.name = "past.key"},
// CHECK-SAME: %arg2: tensor<?x?x8xf32, #lm.dims<"b", "cache_capacity", 8>> {lm.cache, lm.name = "past.value"})
// CHECK-SAME: -> (tensor<?x?x8xf32, #lm.dims<"b", "s", 8>> {lm.name = "y"})
// CHECK-SAME: lm.capacity = "cache_capacity", lm.past = "p"
// CHECK: %[[K:.*]] = lm.kv_append %arg1, %arg0 {past = #lm.sym<"p"> : tensor<1xi64>}
// CHECK: %[[V:.*]] = lm.kv_append %arg2, %arg0 {past = #lm.sym<"p"> : tensor<1xi64>}
// CHECK: %[[Y:.*]] = lm.attention %arg0, %[[K]], %[[V]]
// CHECK-NOT: lm.concat
// CHECK: return %[[Y]] :
func.func @main(%x: !new {lm.name = "x"}, %k: !past {lm.name = "past.key"}, %v: !rows {lm.name = "past.value"})
    -> (!new {lm.name = "y"}, !present {lm.name = "present.key"}, !all {lm.name = "present.value"}) {
  %0 = lm.reshape %x : (!new) -> tensor<?x?x2x4xf32, #lm.dims<"b", "s", 2, 4>>
  %1 = lm.transpose %0 {perm = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32, #lm.dims<"b", "s", 2, 4>>) -> !heads
  %2 = lm.concat %k, %1 {axis = 2 : i64} : (!past, !heads) -> !present
  %3 = lm.transpose %2 {perm = array<i64: 0, 2, 1, 3>} : (!present) -> tensor<?x?x2x4xf32, #lm.dims<"b", "p + s", 2, 4>>
  %4 = lm.reshape %3 : (tensor<?x?x2x4xf32, #lm.dims<"b", "p + s", 2, 4>>) -> !all
  %5 = lm.concat %v, %x {axis = 1 : i64} : (!rows, !new) -> !all
  %6 = lm.attention %x, %4, %5 {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, causal = true, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<source>} : (!new, !all, !all) -> !new
  return %6, %2, %5 : !new, !present, !all
}

// -----

!new = tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
!past = tensor<?x?x8xf32, #lm.dims<"b", "p", 8>>
!all = tensor<?x?x8xf32, #lm.dims<"b", "p + s", 8>>

// Something else reads the past as well.
func.func @main(%x: !new, %k: !past) -> (!all, !all) {
  // expected-error @below {{cannot keep it in a cache: expected only attention to read it}}
  %0 = lm.concat %k, %x {axis = 1 : i64} : (!past, !new) -> !all
  %1 = lm.neg %0 : (!all) -> !all
  return %0, %1 : !all, !all
}

// -----

!new = tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>

// expected-error @below {{expected outputs that are past keys and values with new ones behind them, but there are none}}
func.func @main(%x: !new) -> !new {
  return %x : !new
}

// -----

!new = tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
!past = tensor<?x?x8xf32, #lm.dims<"b", "p", 8>>
!all = tensor<?x?x8xf32, #lm.dims<"b", "p + s", 8>>

// A past that nothing appends to.
// expected-error @below {{expected only caches to have p tokens, but input 2 has them, too}}
func.func @main(%x: !new, %k: !past, %other: !past) -> (!new, !all) {
  %0 = lm.concat %k, %x {axis = 1 : i64} : (!past, !new) -> !all
  %1 = lm.attention %x, %0, %0 {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<source>} : (!new, !all, !all) -> !new
  return %1, %0 : !new, !all
}
