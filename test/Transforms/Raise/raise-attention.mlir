// RUN: llmopt-opt %s --lm-raise-attention | FileCheck %s

!x = tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
!split = tensor<?x?x2x4xf32, #lm.dims<"b", "s", 2, 4>>
!heads = tensor<?x2x?x4xf32, #lm.dims<"b", 2, "s", 4>>
!keys = tensor<?x2x4x?xf32, #lm.dims<"b", 2, 4, "s">>
!scores = tensor<?x2x?x?xf32, #lm.dims<"b", 2, "s", "s">>
!mask = tensor<?x1x1x?xf32, #lm.dims<"b", 1, 1, "s">>
!bools = tensor<?x1x1x?xi1, #lm.dims<"b", 1, 1, "s">>

// BERT: scores divided, an additive mask.
// CHECK-LABEL: @bert
// CHECK-NEXT: %[[R:.*]] = lm.attention %arg0, %arg1, %arg2 mask %arg3
// CHECK-SAME: fully_masked = #lm.fully_masked<source>
// CHECK-SAME: mask_kind = #lm.mask_kind<additive>
// CHECK-SAME: num_heads = 2
// CHECK-SAME: scale = 5.000000e-01
// CHECK-NEXT: return %[[R]]
func.func @bert(%q: !x, %k: !x, %v: !x, %mask: !mask) -> !x {
  %c = lm.constant dense<2.0> : tensor<f32>
  %0 = lm.reshape %q : (!x) -> !split
  %1 = lm.transpose %0 {perm = array<i64: 0, 2, 1, 3>} : (!split) -> !heads
  %2 = lm.reshape %k : (!x) -> !split
  %3 = lm.transpose %2 {perm = array<i64: 0, 2, 3, 1>} : (!split) -> !keys
  %4 = lm.reshape %v : (!x) -> !split
  %5 = lm.transpose %4 {perm = array<i64: 0, 2, 1, 3>} : (!split) -> !heads
  %6 = lm.matmul %1, %3 : (!heads, !keys) -> !scores
  %7 = lm.div %6, %c : (!scores, tensor<f32>) -> !scores
  %8 = lm.add %7, %mask : (!scores, !mask) -> !scores
  %9 = lm.softmax %8 {axis = 3 : i64} : (!scores) -> !scores
  %10 = lm.matmul %9, %5 : (!scores, !heads) -> !heads
  %11 = lm.transpose %10 {perm = array<i64: 0, 2, 1, 3>} : (!heads) -> !split
  %12 = lm.reshape %11 : (!split) -> !x
  return %12 : !x
}

// DistilBERT: queries scaled before the split, masked_fill with the lowest float;
// keys transposed twice.
// CHECK-LABEL: @distilbert
// CHECK-NEXT: %[[M:.*]] = lm.not %arg3
// CHECK-NEXT: %[[R:.*]] = lm.attention %arg0, %arg1, %arg2 mask %[[M]]
// CHECK-SAME: fully_masked = #lm.fully_masked<source>
// CHECK-SAME: mask_kind = #lm.mask_kind<boolean>
// CHECK-SAME: scale = 5.000000e-01
// CHECK-NEXT: return %[[R]]
func.func @distilbert(%q: !x, %k: !x, %v: !x, %masked: !bools) -> !x {
  %c = lm.constant dense<0.5> : tensor<f32>
  %low = lm.constant dense<-3.40282347E+38> : tensor<f32>
  %s = lm.mul %q, %c : (!x, tensor<f32>) -> !x
  %0 = lm.reshape %s : (!x) -> !split
  %1 = lm.transpose %0 {perm = array<i64: 0, 2, 1, 3>} : (!split) -> !heads
  %2 = lm.reshape %k : (!x) -> !split
  %3 = lm.transpose %2 {perm = array<i64: 0, 2, 1, 3>} : (!split) -> !heads
  %kt = lm.transpose %3 {perm = array<i64: 0, 1, 3, 2>} : (!heads) -> !keys
  %4 = lm.reshape %v : (!x) -> !split
  %5 = lm.transpose %4 {perm = array<i64: 0, 2, 1, 3>} : (!split) -> !heads
  %6 = lm.matmul %1, %kt : (!heads, !keys) -> !scores
  %e = lm.broadcast %masked : (!bools) -> tensor<?x2x?x?xi1, #lm.dims<"b", 2, "s", "s">>
  %8 = lm.where %e, %low, %6 : (tensor<?x2x?x?xi1, #lm.dims<"b", 2, "s", "s">>, tensor<f32>, !scores) -> !scores
  %9 = lm.softmax %8 {axis = 3 : i64} : (!scores) -> !scores
  %10 = lm.matmul %9, %5 : (!scores, !heads) -> !heads
  %11 = lm.transpose %10 {perm = array<i64: 0, 2, 1, 3>} : (!heads) -> !split
  %12 = lm.reshape %11 : (!split) -> !x
  return %12 : !x
}

// SDPA: the root of the scale on queries and keys, -inf, NaN rows zeroed.
// CHECK-LABEL: @sdpa
// CHECK-NEXT: %[[R:.*]] = lm.attention %arg0, %arg1, %arg2 mask %arg3
// CHECK-SAME: fully_masked = #lm.fully_masked<zero>
// CHECK-SAME: mask_kind = #lm.mask_kind<boolean>
// CHECK-SAME: scale = 2.500000e-01
// CHECK-NEXT: return %[[R]]
func.func @sdpa(%q: !x, %k: !x, %v: !x, %kept: !bools) -> !x {
  %c = lm.constant dense<0.5> : tensor<f32>
  %zero = lm.constant dense<0.0> : tensor<f32>
  %inf = lm.constant dense<0xFF800000> : tensor<f32>
  %0 = lm.reshape %q : (!x) -> !split
  %1 = lm.transpose %0 {perm = array<i64: 0, 2, 1, 3>} : (!split) -> !heads
  %qs = lm.mul %1, %c : (!heads, tensor<f32>) -> !heads
  %2 = lm.reshape %k : (!x) -> !split
  %3 = lm.transpose %2 {perm = array<i64: 0, 2, 1, 3>} : (!split) -> !heads
  %kt = lm.transpose %3 {perm = array<i64: 0, 1, 3, 2>} : (!heads) -> !keys
  %kts = lm.mul %kt, %c : (!keys, tensor<f32>) -> !keys
  %4 = lm.reshape %v : (!x) -> !split
  %5 = lm.transpose %4 {perm = array<i64: 0, 2, 1, 3>} : (!split) -> !heads
  %6 = lm.matmul %qs, %kts : (!heads, !keys) -> !scores
  %8 = lm.where %kept, %6, %inf : (!bools, !scores, tensor<f32>) -> !scores
  %9 = lm.softmax %8 {axis = 3 : i64} : (!scores) -> !scores
  %n = lm.is_nan %9 : (!scores) -> tensor<?x2x?x?xi1, #lm.dims<"b", 2, "s", "s">>
  %z = lm.where %n, %zero, %9 : (tensor<?x2x?x?xi1, #lm.dims<"b", 2, "s", "s">>, tensor<f32>, !scores) -> !scores
  %10 = lm.matmul %z, %5 : (!scores, !heads) -> !heads
  %11 = lm.transpose %10 {perm = array<i64: 0, 2, 1, 3>} : (!heads) -> !split
  %12 = lm.reshape %11 : (!split) -> !x
  return %12 : !x
}

// Batch and heads in one dimension (no mask), keys divided.
!bh = tensor<?x?x4xf32, #lm.dims<"2*b", "s", 4>>
!bhk = tensor<?x4x?xf32, #lm.dims<"2*b", 4, "s">>
!bhs = tensor<?x?x?xf32, #lm.dims<"2*b", "s", "s">>
// CHECK-LABEL: @batched
// CHECK-NEXT: %[[R:.*]] = lm.attention %arg0, %arg1, %arg2 {
// CHECK-SAME: mask_kind = #lm.mask_kind<none>
// CHECK-SAME: num_heads = 2
// CHECK-SAME: scale = 5.000000e-01
// CHECK-NEXT: return %[[R]]
func.func @batched(%q: !x, %k: !x, %v: !x) -> !x {
  %c = lm.constant dense<2.0> : tensor<f32>
  %0 = lm.reshape %q : (!x) -> !split
  %1 = lm.transpose %0 {perm = array<i64: 0, 2, 1, 3>} : (!split) -> !heads
  %q3 = lm.reshape %1 : (!heads) -> !bh
  %kd = lm.div %k, %c : (!x, tensor<f32>) -> !x
  %2 = lm.reshape %kd : (!x) -> !split
  %3 = lm.transpose %2 {perm = array<i64: 0, 2, 1, 3>} : (!split) -> !heads
  %k3 = lm.reshape %3 : (!heads) -> !bh
  %kt = lm.transpose %k3 {perm = array<i64: 0, 2, 1>} : (!bh) -> !bhk
  %4 = lm.reshape %v : (!x) -> !split
  %5 = lm.transpose %4 {perm = array<i64: 0, 2, 1, 3>} : (!split) -> !heads
  %v3 = lm.reshape %5 : (!heads) -> !bh
  %6 = lm.matmul %q3, %kt : (!bh, !bhk) -> !bhs
  %9 = lm.softmax %6 {axis = 2 : i64} : (!bhs) -> !bhs
  %10 = lm.matmul %9, %v3 : (!bhs, !bh) -> !bh
  %o4 = lm.reshape %10 : (!bh) -> !heads
  %11 = lm.transpose %o4 {perm = array<i64: 0, 2, 1, 3>} : (!heads) -> !split
  %12 = lm.reshape %11 : (!split) -> !x
  return %12 : !x
}

// A packed projection: one axis for query, key and value.
!packed = tensor<?x?x24xf32, #lm.dims<"b", "s", 24>>
!packed5 = tensor<?x?x3x2x4xf32, #lm.dims<"b", "s", 3, 2, 4>>
!moved5 = tensor<3x?x2x?x4xf32, #lm.dims<3, "b", 2, "s", 4>>
// CHECK-LABEL: @packed
// CHECK-DAG: %[[Q:.*]] = lm.slice %arg0 {starts = #lm.sym<0, 0, 0>
// CHECK-DAG: %[[K:.*]] = lm.slice %arg0 {starts = #lm.sym<0, 0, 8>
// CHECK-DAG: %[[V:.*]] = lm.slice %arg0 {starts = #lm.sym<0, 0, 16>
// CHECK: %[[R:.*]] = lm.attention %[[Q]], %[[K]], %[[V]]
// CHECK-NEXT: return %[[R]]
func.func @packed(%x: !packed) -> !x {
  %i0 = lm.constant dense<0> : tensor<i64>
  %i1 = lm.constant dense<1> : tensor<i64>
  %i2 = lm.constant dense<2> : tensor<i64>
  %0 = lm.reshape %x : (!packed) -> !packed5
  %1 = lm.transpose %0 {perm = array<i64: 2, 0, 3, 1, 4>} : (!packed5) -> !moved5
  %q = lm.gather %1, %i0 {axis = 0 : i64} : (!moved5, tensor<i64>) -> !heads
  %k = lm.gather %1, %i1 {axis = 0 : i64} : (!moved5, tensor<i64>) -> !heads
  %v = lm.gather %1, %i2 {axis = 0 : i64} : (!moved5, tensor<i64>) -> !heads
  %kt = lm.transpose %k {perm = array<i64: 0, 1, 3, 2>} : (!heads) -> !keys
  %6 = lm.matmul %q, %kt : (!heads, !keys) -> !scores
  %9 = lm.softmax %6 {axis = 3 : i64} : (!scores) -> !scores
  %10 = lm.matmul %9, %v : (!scores, !heads) -> !heads
  %11 = lm.transpose %10 {perm = array<i64: 0, 2, 1, 3>} : (!heads) -> !split
  %12 = lm.reshape %11 : (!split) -> !x
  return %12 : !x
}

// A constant lower triangle is `causal`.
// CHECK-LABEL: @causal
// CHECK: lm.attention
// CHECK-SAME: causal = true
// CHECK-SAME: mask_kind = #lm.mask_kind<none>
func.func @causal(%q: tensor<1x2x2x4xf32>, %k: tensor<1x2x4x2xf32>, %v: tensor<1x2x2x4xf32>) -> tensor<1x2x2x4xf32> {
  %low = lm.constant dense<-1.0e+04> : tensor<f32>
  %t = lm.constant dense<[[[[true, false], [true, true]]]]> : tensor<1x1x2x2xi1>
  %6 = lm.matmul %q, %k : (tensor<1x2x2x4xf32>, tensor<1x2x4x2xf32>) -> tensor<1x2x2x2xf32>
  %8 = lm.where %t, %6, %low : (tensor<1x1x2x2xi1>, tensor<1x2x2x2xf32>, tensor<f32>) -> tensor<1x2x2x2xf32>
  %9 = lm.softmax %8 {axis = 3 : i64} : (tensor<1x2x2x2xf32>) -> tensor<1x2x2x2xf32>
  %10 = lm.matmul %9, %v : (tensor<1x2x2x2xf32>, tensor<1x2x2x4xf32>) -> tensor<1x2x2x4xf32>
  return %10 : tensor<1x2x2x4xf32>
}

// Two masks, scaled behind: additive, each multiplied by the scale.
// CHECK-LABEL: @two_masks
// CHECK: %[[A:.*]] = lm.mul %arg3, %{{.*}}
// CHECK: %[[B:.*]] = lm.where %arg4, %{{.*}}, %{{.*}}
// CHECK: %[[M:.*]] = lm.add %[[A]], %[[B]]
// CHECK: lm.attention {{.*}} mask %[[M]]
// CHECK-SAME: mask_kind = #lm.mask_kind<additive>
func.func @two_masks(%q: !heads, %k: !keys, %v: !heads, %mask: !mask, %kept: !bools) -> !heads {
  %c = lm.constant dense<0.5> : tensor<f32>
  %inf = lm.constant dense<0xFF800000> : tensor<f32>
  %6 = lm.matmul %q, %k : (!heads, !keys) -> !scores
  %7 = lm.add %6, %mask : (!scores, !mask) -> !scores
  %8 = lm.mul %7, %c : (!scores, tensor<f32>) -> !scores
  %w = lm.where %kept, %8, %inf : (!bools, !scores, tensor<f32>) -> !scores
  %9 = lm.softmax %w {axis = 3 : i64} : (!scores) -> !scores
  %10 = lm.matmul %9, %v : (!scores, !heads) -> !heads
  return %10 : !heads
}

// Not raised: the fill does not mask, the probabilities are an output, the
// softmax is along the queries.
// CHECK-LABEL: @weak_fill
// CHECK-NOT: lm.attention
func.func @weak_fill(%q: !heads, %k: !keys, %v: !heads, %kept: !bools) -> !heads {
  %c = lm.constant dense<-5.0> : tensor<f32>
  %6 = lm.matmul %q, %k : (!heads, !keys) -> !scores
  %w = lm.where %kept, %6, %c : (!bools, !scores, tensor<f32>) -> !scores
  %9 = lm.softmax %w {axis = 3 : i64} : (!scores) -> !scores
  %10 = lm.matmul %9, %v : (!scores, !heads) -> !heads
  return %10 : !heads
}

// CHECK-LABEL: @probabilities
// CHECK-NOT: lm.attention
func.func @probabilities(%q: !heads, %k: !keys, %v: !heads) -> (!heads, !scores) {
  %6 = lm.matmul %q, %k : (!heads, !keys) -> !scores
  %9 = lm.softmax %6 {axis = 3 : i64} : (!scores) -> !scores
  %10 = lm.matmul %9, %v : (!scores, !heads) -> !heads
  return %10, %9 : !heads, !scores
}

// CHECK-LABEL: @other_axis
// CHECK-NOT: lm.attention
func.func @other_axis(%q: !heads, %k: !keys, %v: !heads) -> !heads {
  %6 = lm.matmul %q, %k : (!heads, !keys) -> !scores
  %9 = lm.softmax %6 {axis = 2 : i64} : (!scores) -> !scores
  %10 = lm.matmul %9, %v : (!scores, !heads) -> !heads
  return %10 : !heads
}

// Keys and values of the tokens before: a concat as any other value.
// CHECK-LABEL: @cache
// CHECK: lm.concat
// CHECK: lm.attention
// CHECK-SAME: mask_kind = #lm.mask_kind<none>
!past = tensor<?x2x?x4xf32, #lm.dims<"b", 2, "p", 4>>
!total = tensor<?x2x?x4xf32, #lm.dims<"b", 2, "p + s", 4>>
!totalk = tensor<?x2x4x?xf32, #lm.dims<"b", 2, 4, "p + s">>
!totals = tensor<?x2x?x?xf32, #lm.dims<"b", 2, "s", "p + s">>
func.func @cache(%q: !heads, %k: !heads, %v: !heads, %pk: !past, %pv: !past) -> !heads {
  %kk = lm.concat %pk, %k {axis = 2 : i64} : (!past, !heads) -> !total
  %vv = lm.concat %pv, %v {axis = 2 : i64} : (!past, !heads) -> !total
  %kt = lm.transpose %kk {perm = array<i64: 0, 1, 3, 2>} : (!total) -> !totalk
  %6 = lm.matmul %q, %kt : (!heads, !totalk) -> !totals
  %9 = lm.softmax %6 {axis = 3 : i64} : (!totals) -> !totals
  %10 = lm.matmul %9, %vv : (!totals, !total) -> !heads
  return %10 : !heads
}

// Two query heads share a key head (repeat_kv).
// CHECK-LABEL: @grouped
// CHECK-NEXT: %[[R:.*]] = lm.attention %arg0, %arg1, %arg2
// CHECK-SAME: kv_num_heads = 2
// CHECK-SAME: num_heads = 4
// CHECK-NEXT: return %[[R]]
!gx = tensor<?x?x16xf32, #lm.dims<"b", "s", 16>>
!gsplit = tensor<?x?x4x4xf32, #lm.dims<"b", "s", 4, 4>>
!gheads = tensor<?x4x?x4xf32, #lm.dims<"b", 4, "s", 4>>
!gkeys = tensor<?x4x4x?xf32, #lm.dims<"b", 4, 4, "s">>
!gscores = tensor<?x4x?x?xf32, #lm.dims<"b", 4, "s", "s">>
!one = tensor<?x2x1x?x4xf32, #lm.dims<"b", 2, 1, "s", 4>>
!two = tensor<?x2x2x?x4xf32, #lm.dims<"b", 2, 2, "s", 4>>
func.func @grouped(%q: !gx, %k: !x, %v: !x) -> !gx {
  %0 = lm.reshape %q : (!gx) -> !gsplit
  %1 = lm.transpose %0 {perm = array<i64: 0, 2, 1, 3>} : (!gsplit) -> !gheads
  %2 = lm.reshape %k : (!x) -> !split
  %3 = lm.transpose %2 {perm = array<i64: 0, 2, 1, 3>} : (!split) -> !heads
  %4 = lm.reshape %v : (!x) -> !split
  %5 = lm.transpose %4 {perm = array<i64: 0, 2, 1, 3>} : (!split) -> !heads
  %k1 = lm.reshape %3 : (!heads) -> !one
  %k2 = lm.broadcast %k1 : (!one) -> !two
  %k3 = lm.reshape %k2 : (!two) -> !gheads
  %v1 = lm.reshape %5 : (!heads) -> !one
  %v2 = lm.broadcast %v1 : (!one) -> !two
  %v3 = lm.reshape %v2 : (!two) -> !gheads
  %kt = lm.transpose %k3 {perm = array<i64: 0, 1, 3, 2>} : (!gheads) -> !gkeys
  %6 = lm.matmul %1, %kt : (!gheads, !gkeys) -> !gscores
  %9 = lm.softmax %6 {axis = 3 : i64} : (!gscores) -> !gscores
  %10 = lm.matmul %9, %v3 : (!gscores, !gheads) -> !gheads
  %11 = lm.transpose %10 {perm = array<i64: 0, 2, 1, 3>} : (!gheads) -> !gsplit
  %12 = lm.reshape %11 : (!gsplit) -> !gx
  return %12 : !gx
}

// Heads that alternate over the shared ones (query head n reads n modulo 2) stay
// repeated.
// CHECK-LABEL: @alternating
// CHECK: lm.broadcast
// CHECK: lm.attention
// CHECK-SAME: kv_num_heads = 4
!lead = tensor<?x1x2x?x4xf32, #lm.dims<"b", 1, 2, "s", 4>>
func.func @alternating(%q: !gheads, %k: !heads, %v: !heads) -> !gheads {
  %k1 = lm.reshape %k : (!heads) -> !lead
  %k2 = lm.broadcast %k1 : (!lead) -> !two
  %k3 = lm.reshape %k2 : (!two) -> !gheads
  %v1 = lm.reshape %v : (!heads) -> !lead
  %v2 = lm.broadcast %v1 : (!lead) -> !two
  %v3 = lm.reshape %v2 : (!two) -> !gheads
  %kt = lm.transpose %k3 {perm = array<i64: 0, 1, 3, 2>} : (!gheads) -> !gkeys
  %6 = lm.matmul %q, %kt : (!gheads, !gkeys) -> !gscores
  %9 = lm.softmax %6 {axis = 3 : i64} : (!gscores) -> !gscores
  %10 = lm.matmul %9, %v3 : (!gscores, !gheads) -> !gheads
  return %10 : !gheads
}
