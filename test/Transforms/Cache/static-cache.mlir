// RUN: llmopt-opt %s --split-input-file --lm-kv-cache --lm-cleanup --verify-diagnostics | FileCheck %s

// A buffer for 24 tokens; cache_position says where the new ones go (transformers'
// StaticCache as torch exports it). The mask loses the columns behind them.
!new = tensor<1x?x8xf32, #lm.dims<1, "s", 8>>
!buffer = tensor<1x2x24x4xf32>

// CHECK-LABEL: func.func @main(
// CHECK-SAME: %arg0: tensor<1x?x8xf32, #lm.dims<1, "s", 8>> {lm.name = "x"},
// CHECK-SAME: %arg1: tensor<1x?x8xf32, #lm.dims<1, "cache_capacity", 8>> {lm.cache, lm.name = "k"})
// CHECK-SAME: -> (tensor<1x?x8xf32, #lm.dims<1, "s", 8>> {lm.name = "y"})
// CHECK-SAME: lm.capacity = "cache_capacity", lm.constraints = ["cache_past + s <= 24"], lm.past = "cache_past"
// CHECK-SAME: lm.session_inputs = ["cache_position"]
// CHECK: %[[M:.*]] = lm.where %{{.*}} -> tensor<1x1x?x24xf32, #lm.dims<1, 1, "s", 24>>
// CHECK: %[[K:.*]] = lm.kv_append %arg1, %arg0 {past = #lm.sym<"cache_past"> : tensor<1xi64>}
// CHECK: %[[C:.*]] = lm.slice %[[M]] {{.*}} -> tensor<1x1x?x?xf32, #lm.dims<1, 1, "s", "cache_past + s">>
// CHECK: lm.attention %arg0, %[[K]], %[[K]] mask %[[C]]
func.func @main(%x: !new {lm.name = "x"}, %p: tensor<?xi64, #lm.dims<"s">> {lm.name = "cache_position"}, %k: !buffer {lm.name = "k"})
    -> (!new {lm.name = "y"}, !buffer {lm.name = "present"}) {
  %zero = lm.constant dense<0.0> : tensor<f32>
  %low = lm.constant dense<-3.40282347E+38> : tensor<f32>
  %columns = lm.iota {axis = 3 : i64} : () -> tensor<1x1x1x24xi64>
  %rows = lm.reshape %p : (tensor<?xi64, #lm.dims<"s">>) -> tensor<1x1x?x1xi64, #lm.dims<1, 1, "s", 1>>
  %seen = lm.compare <le> %columns, %rows : (tensor<1x1x1x24xi64>, tensor<1x1x?x1xi64, #lm.dims<1, 1, "s", 1>>) -> tensor<1x1x?x24xi1, #lm.dims<1, 1, "s", 24>>
  %mask = lm.where %seen, %zero, %low : (tensor<1x1x?x24xi1, #lm.dims<1, 1, "s", 24>>, tensor<f32>, tensor<f32>) -> tensor<1x1x?x24xf32, #lm.dims<1, 1, "s", 24>>
  %0 = lm.reshape %p : (tensor<?xi64, #lm.dims<"s">>) -> tensor<?x1xi64, #lm.dims<"s", 1>>
  %1 = lm.transpose %k {perm = array<i64: 2, 0, 1, 3>} : (!buffer) -> tensor<24x1x2x4xf32>
  %2 = lm.reshape %x : (!new) -> tensor<?x1x2x4xf32, #lm.dims<"s", 1, 2, 4>>
  %3 = lm.scatter_nd <none> %1, %0, %2 : (tensor<24x1x2x4xf32>, tensor<?x1xi64, #lm.dims<"s", 1>>, tensor<?x1x2x4xf32, #lm.dims<"s", 1, 2, 4>>) -> tensor<24x1x2x4xf32>
  %4 = lm.transpose %3 {perm = array<i64: 1, 2, 0, 3>} : (tensor<24x1x2x4xf32>) -> !buffer
  %5 = lm.reshape %3 : (tensor<24x1x2x4xf32>) -> tensor<1x24x8xf32>
  %6 = lm.attention %x, %5, %5 mask %mask {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, mask_kind = #lm.mask_kind<additive>, fully_masked = #lm.fully_masked<zero>} : (!new, tensor<1x24x8xf32>, tensor<1x24x8xf32>, tensor<1x1x?x24xf32, #lm.dims<1, 1, "s", 24>>) -> !new
  return %6, %4 : !new, !buffer
}

// -----

// The same along rows of a buffer of open length, written with scatter_elements; a
// key length is an input, and becomes the number of tokens.
!new = tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
!buffer = tensor<?x?x8xf32, #lm.dims<"b", "room", 8>>

// CHECK-LABEL: func.func @main(
// CHECK-SAME: %arg1: tensor<?x?x8xf32, #lm.dims<"b", "cache_capacity", 8>> {lm.cache, lm.name = "k"})
// CHECK-SAME: lm.session_inputs = ["start", "length"]
// CHECK: %[[L:.*]] = lm.constant #lm.sym<"cache_past + s">
// CHECK: lm.compare <lt>
// CHECK: lm.kv_append
// CHECK: lm.attention
func.func @main(%x: !new {lm.name = "x"}, %start: tensor<i64> {lm.name = "start"}, %length: tensor<?xi64, #lm.dims<"b">> {lm.name = "length"}, %k: !buffer {lm.name = "k"})
    -> (!new {lm.name = "y"}, !buffer {lm.name = "present"}) {
  %columns = lm.iota {axis = 3 : i64} : () -> tensor<1x1x1x?xi64, #lm.dims<1, 1, 1, "room">>
  %ends = lm.reshape %length : (tensor<?xi64, #lm.dims<"b">>) -> tensor<?x1x1x1xi64, #lm.dims<"b", 1, 1, 1>>
  %mask = lm.compare <lt> %columns, %ends : (tensor<1x1x1x?xi64, #lm.dims<1, 1, 1, "room">>, tensor<?x1x1x1xi64, #lm.dims<"b", 1, 1, 1>>) -> tensor<?x1x1x?xi1, #lm.dims<"b", 1, 1, "room">>
  %0 = lm.iota {axis = 1 : i64} : () -> tensor<?x?x8xi64, #lm.dims<"b", "s", 8>>
  %1 = lm.add %0, %start : (tensor<?x?x8xi64, #lm.dims<"b", "s", 8>>, tensor<i64>) -> tensor<?x?x8xi64, #lm.dims<"b", "s", 8>>
  %2 = lm.scatter_elements <none> %k, %1, %x {axis = 1 : i64} : (!buffer, tensor<?x?x8xi64, #lm.dims<"b", "s", 8>>, !new) -> !buffer
  %3 = lm.attention %x, %2, %2 mask %mask {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, mask_kind = #lm.mask_kind<boolean>, fully_masked = #lm.fully_masked<zero>} : (!new, !buffer, !buffer, tensor<?x1x1x?xi1, #lm.dims<"b", 1, 1, "room">>) -> !new
  return %3, %2 : !new, !buffer
}

// -----

// Positions that nothing is known of.
!new = tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
!buffer = tensor<?x16x8xf32, #lm.dims<"b", 16, 8>>
!index = tensor<?x?x8xi64, #lm.dims<"b", "s", 8>>

func.func @main(%x: !new, %p: !index, %k: !buffer) -> (!new, !buffer) {
  // expected-error @below {{cannot keep it in a cache: expected the new tokens of every sequence right behind its past ones}}
  %0 = lm.scatter_elements <none> %k, %p, %x {axis = 1 : i64} : (!buffer, !index, !new) -> !buffer
  %1 = lm.attention %x, %0, %0 {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<zero>} : (!new, !buffer, !buffer) -> !new
  return %1, %0 : !new, !buffer
}

// -----

// Without a mask, attention reads what is behind the tokens, too.
!new = tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
!buffer = tensor<?x16x8xf32, #lm.dims<"b", 16, 8>>

func.func @main(%x: !new, %start: tensor<i64>, %k: !buffer) -> (!new, !buffer) {
  %0 = lm.iota {axis = 1 : i64} : () -> tensor<?x?x8xi64, #lm.dims<"b", "s", 8>>
  %1 = lm.add %0, %start : (tensor<?x?x8xi64, #lm.dims<"b", "s", 8>>, tensor<i64>) -> tensor<?x?x8xi64, #lm.dims<"b", "s", 8>>
  %2 = lm.scatter_elements <none> %k, %1, %x {axis = 1 : i64} : (!buffer, tensor<?x?x8xi64, #lm.dims<"b", "s", 8>>, !new) -> !buffer
  // expected-error @below {{cannot keep it in a cache: expected a mask that leaves out the keys behind the tokens so far}}
  %3 = lm.attention %x, %2, %2 {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<zero>} : (!new, !buffer, !buffer) -> !new
  return %3, %2 : !new, !buffer
}

// -----

// The mask lets one key too many through.
!new = tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
!buffer = tensor<?x16x8xf32, #lm.dims<"b", 16, 8>>

func.func @main(%x: !new, %p: tensor<?xi64, #lm.dims<"s">>, %k: !buffer) -> (!new, !buffer) {
  %one = lm.constant dense<1> : tensor<i64>
  %columns = lm.iota {axis = 3 : i64} : () -> tensor<1x1x1x16xi64>
  %rows = lm.reshape %p : (tensor<?xi64, #lm.dims<"s">>) -> tensor<1x1x?x1xi64, #lm.dims<1, 1, "s", 1>>
  %next = lm.add %rows, %one : (tensor<1x1x?x1xi64, #lm.dims<1, 1, "s", 1>>, tensor<i64>) -> tensor<1x1x?x1xi64, #lm.dims<1, 1, "s", 1>>
  %mask = lm.compare <le> %columns, %next : (tensor<1x1x1x16xi64>, tensor<1x1x?x1xi64, #lm.dims<1, 1, "s", 1>>) -> tensor<1x1x?x16xi1, #lm.dims<1, 1, "s", 16>>
  %0 = lm.reshape %p : (tensor<?xi64, #lm.dims<"s">>) -> tensor<1x?x1xi64, #lm.dims<1, "s", 1>>
  %1 = lm.broadcast %0 : (tensor<1x?x1xi64, #lm.dims<1, "s", 1>>) -> tensor<?x?x8xi64, #lm.dims<"b", "s", 8>>
  %2 = lm.scatter_elements <none> %k, %1, %x {axis = 1 : i64} : (!buffer, tensor<?x?x8xi64, #lm.dims<"b", "s", 8>>, !new) -> !buffer
  // expected-error @below {{cannot keep it in a cache: expected a mask that leaves out the keys behind the tokens so far}}
  %3 = lm.attention %x, %2, %2 mask %mask {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, mask_kind = #lm.mask_kind<boolean>, fully_masked = #lm.fully_masked<zero>} : (!new, !buffer, !buffer, tensor<1x1x?x16xi1, #lm.dims<1, 1, "s", 16>>) -> !new
  return %3, %2 : !new, !buffer
}

// -----

// Keys and values in one.
!new = tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
!heads = tensor<?x2x?x4xf32, #lm.dims<"b", 2, "s", 4>>
!half = tensor<?x2x?x4xf32, #lm.dims<"b", 2, "p", 4>>
!cut = tensor<1x?x2x?x4xf32, #lm.dims<1, "b", 2, "p", 4>>
!joint = tensor<2x?x2x?x4xf32, #lm.dims<2, "b", 2, "p", 4>>
!both = tensor<?x2x?x4xf32, #lm.dims<"b", 2, "p + s", 4>>
!one = tensor<1x?x2x?x4xf32, #lm.dims<1, "b", 2, "p + s", 4>>
!all = tensor<?x?x8xf32, #lm.dims<"b", "p + s", 8>>
!apart = tensor<?x?x2x4xf32, #lm.dims<"b", "p + s", 2, 4>>

// CHECK-LABEL: func.func @main(
// CHECK-SAME: {lm.cache, lm.name = "past_0.key"}
// CHECK-SAME: {lm.cache, lm.name = "past_0.value"}
// CHECK: %[[K:.*]] = lm.kv_append %arg1, %arg0
// CHECK: %[[V:.*]] = lm.kv_append %arg2, %arg0
// CHECK: lm.attention %arg0, %[[K]], %[[V]]
func.func @main(%x: !new {lm.name = "x"}, %past: !joint {lm.name = "past_0"})
    -> (!new {lm.name = "y"}, tensor<2x?x2x?x4xf32, #lm.dims<2, "b", 2, "p + s", 4>> {lm.name = "present_0"}) {
  %0 = lm.reshape %x : (!new) -> tensor<?x?x2x4xf32, #lm.dims<"b", "s", 2, 4>>
  %1 = lm.transpose %0 {perm = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32, #lm.dims<"b", "s", 2, 4>>) -> !heads
  %2 = lm.slice %past {starts = #lm.sym<0, 0, 0, 0, 0> : tensor<5xi64>, steps = array<i64: 1, 1, 1, 1, 1>} : (!joint) -> !cut
  %3 = lm.reshape %2 : (!cut) -> !half
  %4 = lm.concat %3, %1 {axis = 2 : i64} : (!half, !heads) -> !both
  %5 = lm.slice %past {starts = #lm.sym<1, 0, 0, 0, 0> : tensor<5xi64>, steps = array<i64: 1, 1, 1, 1, 1>} : (!joint) -> !cut
  %6 = lm.reshape %5 : (!cut) -> !half
  %7 = lm.concat %6, %1 {axis = 2 : i64} : (!half, !heads) -> !both
  %8 = lm.reshape %4 : (!both) -> !one
  %9 = lm.reshape %7 : (!both) -> !one
  %10 = lm.concat %8, %9 {axis = 0 : i64} : (!one, !one) -> tensor<2x?x2x?x4xf32, #lm.dims<2, "b", 2, "p + s", 4>>
  %11 = lm.transpose %4 {perm = array<i64: 0, 2, 1, 3>} : (!both) -> !apart
  %12 = lm.reshape %11 : (!apart) -> !all
  %13 = lm.transpose %7 {perm = array<i64: 0, 2, 1, 3>} : (!both) -> !apart
  %14 = lm.reshape %13 : (!apart) -> !all
  %15 = lm.attention %x, %12, %14 {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, causal = true, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<source>} : (!new, !all, !all) -> !new
  return %15, %10 : !new, tensor<2x?x2x?x4xf32, #lm.dims<2, "b", 2, "p + s", 4>>
}
