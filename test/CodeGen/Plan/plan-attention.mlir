// Attention reads query, key and value in the joint projection.
// RUN: llmopt-opt %s -lm-plan | llmopt-opt | FileCheck %s

!h = tensor<?x?x32xf32, #lm.dims<"batch", "sequence", 32>>
!h3 = tensor<?x?x96xf32, #lm.dims<"batch", "sequence", 96>>
!mask = tensor<?x1x1x?xf32, #lm.dims<"batch", 1, 1, "sequence">>

// CHECK-LABEL: func.func @joint
// CHECK-NOT: lm.slice
// CHECK: kernel.attention %arg0, %arg0, %arg0 mask %arg1
// CHECK-SAME: head_dim = 8
// CHECK-SAME: k_offset = 32
// CHECK-SAME: q_offset = 0
// CHECK-SAME: v_offset = 64
func.func @joint(%qkv: !h3, %mask: !mask) -> !h {
  %q = lm.slice %qkv {starts = #lm.sym<0, 0, 0> : tensor<3xi64>, steps = array<i64: 1, 1, 1>} : (!h3) -> !h
  %k = lm.slice %qkv {starts = #lm.sym<0, 0, 32> : tensor<3xi64>, steps = array<i64: 1, 1, 1>} : (!h3) -> !h
  %v = lm.slice %qkv {starts = #lm.sym<0, 0, 64> : tensor<3xi64>, steps = array<i64: 1, 1, 1>} : (!h3) -> !h
  %0 = lm.attention %q, %k, %v mask %mask {num_heads = 4 : i64, kv_num_heads = 4 : i64, scale = 0.35 : f64,
      mask_kind = #lm.mask_kind<additive>, fully_masked = #lm.fully_masked<source>} : (!h, !h, !h, !mask) -> !h
  return %0 : !h
}

// A mask of one value per row is written out: kernels read keys one behind the other.
// CHECK-LABEL: func.func @narrow_mask
// CHECK: %[[M:.*]] = kernel.loops
// CHECK: lm.broadcast
// CHECK: kernel.attention %arg0, %arg0, %arg0 mask %[[M]]
func.func @narrow_mask(%x: !h, %mask: tensor<1x1x1x1xf32>) -> !h {
  %0 = lm.attention %x, %x, %x mask %mask {num_heads = 4 : i64, kv_num_heads = 4 : i64, scale = 0.35 : f64,
      mask_kind = #lm.mask_kind<additive>, fully_masked = #lm.fully_masked<source>} : (!h, !h, !h, tensor<1x1x1x1xf32>) -> !h
  return %0 : !h
}

// Nothing is gained by writing the mask out for every query.
// CHECK-LABEL: func.func @broadcast_mask
// CHECK: %[[M:.*]] = kernel.loops
// CHECK-NOT: lm.broadcast
// CHECK: kernel.yield %{{.*}} : tensor<?x1x1x?xf32
// CHECK: kernel.attention %arg0, %arg0, %arg0 mask %[[M]]
func.func @broadcast_mask(%x: !h, %mask: tensor<?x1x1x?xi64, #lm.dims<"batch", 1, 1, "sequence">>) -> !h {
  %big = lm.constant dense<-1.0e4> : tensor<f32>
  %0 = lm.broadcast %mask : (tensor<?x1x1x?xi64, #lm.dims<"batch", 1, 1, "sequence">>) -> tensor<?x1x?x?xi64, #lm.dims<"batch", 1, "sequence", "sequence">>
  %1 = lm.cast %0 : (tensor<?x1x?x?xi64, #lm.dims<"batch", 1, "sequence", "sequence">>) -> tensor<?x1x?x?xf32, #lm.dims<"batch", 1, "sequence", "sequence">>
  %2 = lm.mul %1, %big : (tensor<?x1x?x?xf32, #lm.dims<"batch", 1, "sequence", "sequence">>, tensor<f32>) -> tensor<?x1x?x?xf32, #lm.dims<"batch", 1, "sequence", "sequence">>
  %3 = lm.attention %x, %x, %x mask %2 {num_heads = 4 : i64, kv_num_heads = 4 : i64, scale = 0.35 : f64,
      mask_kind = #lm.mask_kind<additive>, fully_masked = #lm.fully_masked<source>} : (!h, !h, !h, tensor<?x1x?x?xf32, #lm.dims<"batch", 1, "sequence", "sequence">>) -> !h
  return %3 : !h
}
