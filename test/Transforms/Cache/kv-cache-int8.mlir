// Keys and values in int8: a cache for integers, one for the scales of tokens and heads.
// RUN: llmopt-opt %s --split-input-file -pass-pipeline='builtin.module(func.func(lm-kv-cache{int8=true}),lm-cleanup)' --verify-diagnostics | FileCheck %s
// RUN: llmopt-opt %s --split-input-file -pass-pipeline='builtin.module(func.func(lm-kv-cache{int8=true}),lm-cleanup,lm-plan)' --verify-diagnostics | FileCheck %s --check-prefix=PLAN

!new = tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
!past = tensor<?x?x8xf32, #lm.dims<"b", "p", 8>>
!all = tensor<?x?x8xf32, #lm.dims<"b", "p + s", 8>>
!q = tensor<?x?x16xf32, #lm.dims<"b", "s", 16>>

// CHECK: func.func @main(
// CHECK-SAME: %[[K:arg[0-9]]]: tensor<?x?x8xi8, #lm.dims<"b", "cache_capacity", 8>> {lm.cache, lm.name = "past.key"}
// CHECK-SAME: %[[V:arg[0-9]]]: tensor<?x?x8xi8, #lm.dims<"b", "cache_capacity", 8>> {lm.cache, lm.name = "past.value"}
// CHECK-SAME: %[[KS:arg[0-9]]]: tensor<?x?x2xf32, #lm.dims<"b", "cache_capacity", 2>> {lm.cache, lm.name = "past.key#scale"}
// CHECK-SAME: %[[VS:arg[0-9]]]: tensor<?x?x2xf32, #lm.dims<"b", "cache_capacity", 2>> {lm.cache, lm.name = "past.value#scale"}
// CHECK-SAME: lm.capacity = "cache_capacity", lm.past = "p"
// CHECK: %[[S:.*]] = lm.absmax_scale %{{.*}} {axes = array<i64: 3>, qmax = 1.270000e+02 : f64}
// CHECK: lm.quantize %{{.*}} scale %[[S]] {narrow_range = true}
// CHECK: %[[AK:.*]] = lm.kv_append %[[K]], %{{.*}} -> tensor<?x?x8xi8
// CHECK: %[[AS:.*]] = lm.kv_append %[[KS]], %{{.*}} -> tensor<?x?x2xf32
// CHECK: lm.dequantize
// CHECK: lm.attention

// PLAN: %[[KQ:.*]], %[[KS:.*]] = kernel.quantize_rows
// PLAN: %[[AK:.*]] = kernel.kv_append %{{.*}}, %{{.*}} -> tensor<?x?x8xi8
// PLAN: %[[AKS:.*]] = kernel.kv_append %{{.*}}, %{{.*}} -> tensor<?x?x2xf32
// PLAN: %[[AV:.*]] = kernel.kv_append %{{.*}}, %{{.*}} -> tensor<?x?x8xi8
// PLAN: %[[AVS:.*]] = kernel.kv_append %{{.*}}, %{{.*}} -> tensor<?x?x2xf32
// PLAN: kernel.attention %arg0, %[[AK]], %[[AV]] scales %[[AKS]], %[[AVS]]
// PLAN-NOT: kernel.loops
func.func @main(%q: !q {lm.name = "q"}, %x: !new {lm.name = "x"}, %k: !past {lm.name = "past.key"}, %v: !past {lm.name = "past.value"})
    -> (!q {lm.name = "y"}, !all {lm.name = "present.key"}, !all {lm.name = "present.value"}) {
  %0 = lm.concat %k, %x {axis = 1 : i64} : (!past, !new) -> !all
  %1 = lm.concat %v, %x {axis = 1 : i64} : (!past, !new) -> !all
  %2 = lm.attention %q, %0, %1 {num_heads = 4 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, causal = true, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<source>} : (!q, !all, !all) -> !q
  return %2, %0, %1 : !q, !all, !all
}
