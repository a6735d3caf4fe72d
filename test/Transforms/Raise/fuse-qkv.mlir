// RUN: llmopt-opt %s --lm-fuse-qkv | FileCheck %s

!x = tensor<?x?x4xf32, #lm.dims<"b", "s", 4>>

// The key has no bias: zeros stand for it.
// CHECK-LABEL: @fused
// CHECK-DAG: %[[WQ:.*]] = lm.weight "wq"
// CHECK-DAG: %[[WK:.*]] = lm.weight "wk"
// CHECK-DAG: %[[WV:.*]] = lm.weight "wv"
// CHECK-DAG: %[[BQ:.*]] = lm.weight "bq"
// CHECK-DAG: %[[BV:.*]] = lm.weight "bv"
// CHECK-DAG: %[[ZERO:.*]] = lm.constant dense<0.000000e+00> : tensor<4xf32>
// CHECK-DAG: %[[W:.*]] = lm.concat %[[WQ]], %[[WK]], %[[WV]] {axis = 1 : i64} {{.*}} -> tensor<4x12xf32>
// CHECK-DAG: %[[B:.*]] = lm.concat %[[BQ]], %[[ZERO]], %[[BV]] {axis = 0 : i64}
// CHECK: %[[L:.*]] = lm.linear %arg0, %[[W]] bias %[[B]]
// CHECK-DAG: %[[Q:.*]] = lm.slice %[[L]] {starts = #lm.sym<0, 0, 0>
// CHECK-DAG: %[[K:.*]] = lm.slice %[[L]] {starts = #lm.sym<0, 0, 4>
// CHECK-DAG: %[[V:.*]] = lm.slice %[[L]] {starts = #lm.sym<0, 0, 8>
// CHECK: lm.attention %[[Q]], %[[K]], %[[V]]
func.func @fused(%x: !x) -> !x {
  %wq = lm.weight "wq" from (dense<1.0> : tensor<4x4xf32>) : tensor<4x4xf32>
  %wk = lm.weight "wk" from (dense<2.0> : tensor<4x4xf32>) : tensor<4x4xf32>
  %wv = lm.weight "wv" from (dense<3.0> : tensor<4x4xf32>) : tensor<4x4xf32>
  %bq = lm.weight "bq" from (dense<4.0> : tensor<4xf32>) : tensor<4xf32>
  %bv = lm.weight "bv" from (dense<5.0> : tensor<4xf32>) : tensor<4xf32>
  %q = lm.linear %x, %wq bias %bq : (!x, tensor<4x4xf32>, tensor<4xf32>) -> !x
  %k = lm.linear %x, %wk : (!x, tensor<4x4xf32>) -> !x
  %v = lm.linear %x, %wv bias %bv : (!x, tensor<4x4xf32>, tensor<4xf32>) -> !x
  %r = lm.attention %q, %k, %v {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<source>} : (!x, !x, !x) -> !x
  return %r : !x
}

// Cross attention: keys and values come from elsewhere.
// CHECK-LABEL: @cross
// CHECK-COUNT-3: lm.linear
// CHECK-NOT: lm.concat
func.func @cross(%x: !x, %y: !x) -> !x {
  %wq = lm.weight "wq" from (dense<1.0> : tensor<4x4xf32>) : tensor<4x4xf32>
  %wk = lm.weight "wk" from (dense<2.0> : tensor<4x4xf32>) : tensor<4x4xf32>
  %wv = lm.weight "wv" from (dense<3.0> : tensor<4x4xf32>) : tensor<4x4xf32>
  %q = lm.linear %x, %wq : (!x, tensor<4x4xf32>) -> !x
  %k = lm.linear %y, %wk : (!x, tensor<4x4xf32>) -> !x
  %v = lm.linear %y, %wv : (!x, tensor<4x4xf32>) -> !x
  %r = lm.attention %q, %k, %v {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<source>} : (!x, !x, !x) -> !x
  return %r : !x
}

// Quantized weights stay so: one scale each becomes one per output, and one zero point
// of all stays.
// CHECK-LABEL: @quantized
// CHECK-DAG: %[[W:.*]] = lm.concat %{{.*}}, %{{.*}}, %{{.*}} {axis = 1 : i64} : {{.*}} -> tensor<4x12xi8>
// CHECK-DAG: %[[S:.*]] = lm.concat %{{.*}}, %{{.*}}, %{{.*}} {axis = 1 : i64} : {{.*}} -> tensor<1x12xf32>
// CHECK: %[[D:.*]] = lm.dequantize %[[W]] scale %[[S]] zero_point %{{.*}} : (tensor<4x12xi8>, tensor<1x12xf32>, tensor<i8>)
// CHECK: lm.linear %arg0, %[[D]]
func.func @quantized(%x: !x) -> !x {
  %wq = lm.weight "wq" from (dense<1> : tensor<4x4xi8>) : tensor<4x4xi8>
  %wk = lm.weight "wk" from (dense<2> : tensor<4x4xi8>) : tensor<4x4xi8>
  %wv = lm.weight "wv" from (dense<3> : tensor<4x4xi8>) : tensor<4x4xi8>
  %sq = lm.weight "sq" from (dense<0.5> : tensor<1xf32>) : tensor<1xf32>
  %sk = lm.weight "sk" from (dense<0.25> : tensor<1xf32>) : tensor<1xf32>
  %sv = lm.weight "sv" from (dense<0.125> : tensor<1xf32>) : tensor<1xf32>
  %z = lm.constant dense<0> : tensor<i8>
  %dq = lm.dequantize %wq scale %sq zero_point %z : (tensor<4x4xi8>, tensor<1xf32>, tensor<i8>) -> tensor<4x4xf32>
  %dk = lm.dequantize %wk scale %sk zero_point %z : (tensor<4x4xi8>, tensor<1xf32>, tensor<i8>) -> tensor<4x4xf32>
  %dv = lm.dequantize %wv scale %sv zero_point %z : (tensor<4x4xi8>, tensor<1xf32>, tensor<i8>) -> tensor<4x4xf32>
  %q = lm.linear %x, %dq : (!x, tensor<4x4xf32>) -> !x
  %k = lm.linear %x, %dk : (!x, tensor<4x4xf32>) -> !x
  %v = lm.linear %x, %dv : (!x, tensor<4x4xf32>) -> !x
  %r = lm.attention %q, %k, %v {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<source>} : (!x, !x, !x) -> !x
  return %r : !x
}
