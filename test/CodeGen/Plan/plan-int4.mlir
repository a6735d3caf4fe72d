// RUN: llmopt-opt %s --lm-plan="quantized-weights" | FileCheck %s
// RUN: llmopt-opt %s --lm-plan | FileCheck %s --check-prefix=NONE
// RUN: llmopt-opt %s --lm-plan="quantized-rows" | FileCheck %s --check-prefix=ROWS

!x = tensor<?x64xf32, #lm.dims<"n", 64>>
!xg = tensor<?x2x32xf32, #lm.dims<"n", 2, 32>>
!xq = tensor<?x2x32xi8, #lm.dims<"n", 2, 32>>
!xs = tensor<?x2x1xf32, #lm.dims<"n", 2, 1>>
!y = tensor<?x20xf32, #lm.dims<"n", 20>>

// Rows and weight in groups of 32: scales of rows lie beside each other.
// CHECK-LABEL: @grouped
// CHECK: %[[V:.*]] = kernel.view %arg0 {{.*}} -> tensor<?x2x32xf32
// CHECK: %[[Q:.*]], %[[S:.*]] = kernel.quantize_rows %[[V]]
// CHECK: %[[T:.*]] = lm.transpose %[[W:.*]] {perm = array<i64: 1, 2, 0>} : (tensor<20x2x32xi4>) -> tensor<2x32x20xi4>
// CHECK: %[[P:.*]] = kernel.pack_groups 16 %[[T]] scale {{.*}} -> tensor<2x2x320xi8>
// CHECK-DAG: %[[FQ:.*]] = kernel.view %[[Q]] {{.*}} -> tensor<?x64xi8
// CHECK-DAG: %[[FS:.*]] = kernel.view %[[S]] {{.*}} -> tensor<?x2xf32
// CHECK: kernel.gemm_w4a8 %[[FQ]] scale %[[FS]], %[[P]] bias {{.*}} {activation = #kernel.activation<relu>, group = 32 : i64, k = 64 : i64, n = 20 : i64, offset = 8 : i64}
// CHECK-NOT: kernel.loops
// ROWS-LABEL: @grouped
// ROWS: kernel.pack_groups 1 %{{.*}} {layout = #kernel.layout<rows>} : {{.*}} -> tensor<800xi8>
// ROWS: kernel.gemm_w4a8 {{.*}} group = 32 : i64, k = 64 : i64, layout = #kernel.layout<rows>, n = 20 : i64
// A target without the kernels multiplies what the integers stand for.
// NONE-LABEL: @grouped
// NONE: kernel.loops
// NONE: lm.quantize
// NONE: kernel.gemm {{.*}} bias
func.func @grouped(%x: !x) -> !y {
  %w = lm.weight "w" from (dense<1.0> : tensor<20x2x32xf32>) : tensor<20x2x32xf32>
  %b = lm.weight "b" from (dense<1.0> : tensor<20xf32>) : tensor<20xf32>
  %ws = lm.absmax_scale %w {axes = array<i64: 2>, qmax = 7.0 : f64} : (tensor<20x2x32xf32>) -> tensor<20x2x1xf32>
  %wq = lm.quantize %w scale %ws {narrow_range = true} : (tensor<20x2x32xf32>, tensor<20x2x1xf32>) -> tensor<20x2x32xi4>
  %wd = lm.dequantize %wq scale %ws : (tensor<20x2x32xi4>, tensor<20x2x1xf32>) -> tensor<20x2x32xf32>
  %wr = lm.reshape %wd : (tensor<20x2x32xf32>) -> tensor<20x64xf32>
  %xg = lm.reshape %x : (!x) -> !xg
  %s = lm.absmax_scale %xg {axes = array<i64: 2>, qmax = 127.0 : f64} : (!xg) -> !xs
  %q = lm.quantize %xg scale %s {narrow_range = true} : (!xg, !xs) -> !xq
  %d = lm.dequantize %q scale %s : (!xq, !xs) -> !xg
  %r = lm.reshape %d : (!xg) -> !x
  %0 = lm.linear %r, %wr bias %b {transpose_weight = true} : (!x, tensor<20x64xf32>, tensor<20xf32>) -> !y
  %1 = lm.relu %0 : (!y) -> !y
  return %1 : !y
}

// Unsigned, with zero points, by floats.
// CHECK-LABEL: @weight_only
// CHECK: kernel.pack_groups 16 %{{.*}} scale %{{.*}} zero_point %{{.*}} -> tensor<2x1x640xi8>
// CHECK: kernel.gemm_wq %arg0, %{{.*}} {group = 64 : i64, k = 64 : i64, n = 20 : i64, offset = 0 : i64, zero_points = true}
// CHECK-NOT: kernel.loops
// ROWS-LABEL: @weight_only
// ROWS: kernel.pack_groups 1 %{{.*}} zero_point %{{.*}} {layout = #kernel.layout<rows>} : {{.*}} -> tensor<752xi8>
// ROWS: kernel.gemm_wq %arg0, {{.*}}layout = #kernel.layout<rows>
// NONE-LABEL: @weight_only
// NONE: kernel.gemm %arg0
func.func @weight_only(%x: !x) -> !y {
  %w = lm.weight "w" from (dense<9> : tensor<1x64x20xui4>) : tensor<1x64x20xui4>
  %s = lm.weight "s" from (dense<1.0> : tensor<1x1x20xf32>) : tensor<1x1x20xf32>
  %z = lm.weight "z" from (dense<7> : tensor<1x1x20xui4>) : tensor<1x1x20xui4>
  %wd = lm.dequantize %w scale %s zero_point %z : (tensor<1x64x20xui4>, tensor<1x1x20xf32>, tensor<1x1x20xui4>) -> tensor<1x64x20xf32>
  %wr = lm.reshape %wd : (tensor<1x64x20xf32>) -> tensor<64x20xf32>
  %0 = lm.linear %x, %wr : (!x, tensor<64x20xf32>) -> !y
  return %0 : !y
}

// int8 with one scale per column, by floats.
// CHECK-LABEL: @int8_weight
// CHECK: kernel.pack <panels> 16 {{.*}} -> tensor<2x64x16xi8>
// CHECK: kernel.gemm_wq %arg0, %{{.*}} scale %{{.*}} {group = 0 : i64, k = 64 : i64, n = 20 : i64, offset = 0 : i64}
// NONE-LABEL: @int8_weight
// NONE: kernel.gemm %arg0
func.func @int8_weight(%x: !x) -> !y {
  %w = lm.weight "w" from (dense<3> : tensor<64x20xi8>) : tensor<64x20xi8>
  %s = lm.weight "s" from (dense<1.0> : tensor<1x20xf32>) : tensor<1x20xf32>
  %wd = lm.dequantize %w scale %s : (tensor<64x20xi8>, tensor<1x20xf32>) -> tensor<64x20xf32>
  %0 = lm.linear %x, %wd : (!x, tensor<64x20xf32>) -> !y
  return %0 : !y
}

// Groups that no kernel has: what the integers stand for is multiplied.
// CHECK-LABEL: @small_groups
// CHECK: kernel.gemm %arg0
func.func @small_groups(%x: !x) -> !y {
  %w = lm.weight "w" from (dense<3> : tensor<4x16x20xi4>) : tensor<4x16x20xi4>
  %s = lm.weight "s" from (dense<1.0> : tensor<4x1x20xf32>) : tensor<4x1x20xf32>
  %wd = lm.dequantize %w scale %s : (tensor<4x16x20xi4>, tensor<4x1x20xf32>) -> tensor<4x16x20xf32>
  %wr = lm.reshape %wd : (tensor<4x16x20xf32>) -> tensor<64x20xf32>
  %0 = lm.linear %x, %wr : (!x, tensor<64x20xf32>) -> !y
  return %0 : !y
}

// A norm quantizes what it gives, whole rows or groups, and gives it in f32 too.
// CHECK-LABEL: @norm
// CHECK: %[[Y:.*]], %[[Q:.*]], %[[S:.*]], %[[SUM:.*]] = kernel.norm_quantized <layer> %arg0 residual %arg1 {{.*}} -> (tensor<?x64xf32{{.*}}, tensor<?x64xi8{{.*}}, tensor<?x2xf32{{.*}}, tensor<?x64xf32
// CHECK-NOT: kernel.quantize_rows
// CHECK: kernel.gemm_w4a8
// CHECK-NOT: kernel.quantize_rows
// CHECK: return %{{.*}}, %[[Y]], %[[SUM]]
// NONE-LABEL: @norm
// NONE: kernel.norm <layer>
func.func @norm(%a: !x, %c: !x) -> (!y, !x, !x) {
  %w = lm.weight "w" from (dense<1> : tensor<2x32x20xi4>) : tensor<2x32x20xi4>
  %ws = lm.weight "s" from (dense<1.0> : tensor<2x1x20xf32>) : tensor<2x1x20xf32>
  %wd = lm.dequantize %w scale %ws : (tensor<2x32x20xi4>, tensor<2x1x20xf32>) -> tensor<2x32x20xf32>
  %wr = lm.reshape %wd : (tensor<2x32x20xf32>) -> tensor<64x20xf32>
  %sum = lm.add %a, %c : (!x, !x) -> !x
  %x = lm.norm #lm.norm_kind<layer> %sum {epsilon = 1.0e-5 : f64} : (!x) -> !x
  %xg = lm.reshape %x : (!x) -> !xg
  %s = lm.absmax_scale %xg {axes = array<i64: 2>, qmax = 127.0 : f64} : (!xg) -> !xs
  %q = lm.quantize %xg scale %s {narrow_range = true} : (!xg, !xs) -> !xq
  %d = lm.dequantize %q scale %s : (!xq, !xs) -> !xg
  %r = lm.reshape %d : (!xg) -> !x
  %0 = lm.linear %r, %wr : (!x, tensor<64x20xf32>) -> !y
  return %0, %x, %sum : !y, !x, !x
}

// f16 around a product whose weight is int4: it reads and gives f16, with scales of f16.
// ROWS-LABEL: @narrow
// ROWS: %[[S:.*]] = lm.cast {{.*}} -> tensor<1x1x20xf16>
// ROWS: kernel.pack_groups 1 %{{.*}} scale %[[S]] {layout = #kernel.layout<rows>} : {{.*}} -> tensor<688xi8>
// ROWS: kernel.gemm_wq %arg0, {{.*}}half_scales = true, k = 64 : i64, layout = #kernel.layout<rows>{{.*}} -> tensor<?x20xf16
// ROWS-NOT: kernel.loops
// ROWS: return
func.func @narrow(%x: tensor<?x64xf16, #lm.dims<"n", 64>>) -> tensor<?x20xf16, #lm.dims<"n", 20>> {
  %w = lm.weight "nw" from (dense<7> : tensor<1x64x20xi4>) : tensor<1x64x20xi4>
  %s = lm.weight "ns" from (dense<1.0> : tensor<1x1x20xf32>) : tensor<1x1x20xf32>
  %wd = lm.dequantize %w scale %s : (tensor<1x64x20xi4>, tensor<1x1x20xf32>) -> tensor<1x64x20xf32>
  %wr = lm.reshape %wd : (tensor<1x64x20xf32>) -> tensor<64x20xf32>
  %f = lm.cast %x : (tensor<?x64xf16, #lm.dims<"n", 64>>) -> !x
  %0 = lm.linear %f, %wr : (!x, tensor<64x20xf32>) -> !y
  %1 = lm.cast %0 : (!y) -> tensor<?x20xf16, #lm.dims<"n", 20>>
  return %1 : tensor<?x20xf16, #lm.dims<"n", 20>>
}
