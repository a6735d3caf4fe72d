// RUN: llmopt-opt %s -split-input-file -lm-mixed-precision -lm-cleanup | FileCheck %s
// RUN: llmopt-opt %s -split-input-file -lm-mixed-precision=type=bf16 -lm-cleanup | FileCheck %s --check-prefix=BF16

// Products, the norm and what lies between them; the mask and the interface stay.
// CHECK-LABEL: @encoder
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<2x3x4xf32> {{.*}}, %[[M:[a-z0-9]+]]: tensor<2x1x1x3xf32>
// BF16-LABEL: @encoder
func.func @encoder(%x: tensor<2x3x4xf32> {lm.name = "x"}, %m: tensor<2x1x1x3xf32> {lm.name = "m"}) -> (tensor<2x3x4xf32> {lm.name = "y"}) {
  %w = lm.weight "w" from(dense<[[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]]> : tensor<4x4xf32>) : tensor<4x4xf32>
  %s = lm.weight "s" from(dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>) : tensor<4xf32>
  // CHECK: %[[XN:.*]] = lm.cast %[[X]] : (tensor<2x3x4xf32>) -> tensor<2x3x4xf16>
  // CHECK: %[[W:.*]] = lm.cast %{{.*}} : (tensor<4x4xf32>) -> tensor<4x4xf16>
  // CHECK: %[[Q:.*]] = lm.linear %[[XN]], %[[W]] : {{.*}} -> tensor<2x3x4xf16>
  // BF16: lm.linear {{.*}} -> tensor<2x3x4xbf16>
  %q = lm.linear %x, %w : (tensor<2x3x4xf32>, tensor<4x4xf32>) -> tensor<2x3x4xf32>
  // CHECK: %[[A:.*]] = lm.attention %[[Q]], %[[Q]], %[[Q]] mask %[[M]] {{.*}}tensor<2x1x1x3xf32>) -> tensor<2x3x4xf16>
  %a = lm.attention %q, %q, %q mask %m {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, mask_kind = #lm.mask_kind<additive>, fully_masked = #lm.fully_masked<nan>} : (tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<2x1x1x3xf32>) -> tensor<2x3x4xf32>
  // CHECK: %[[R:.*]] = lm.add %[[A]], %[[Q]] : {{.*}} -> tensor<2x3x4xf16>
  %r = lm.add %a, %q : (tensor<2x3x4xf32>, tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  // CHECK: %[[N:.*]] = lm.norm <layer> %[[R]] scale %{{.*}} : (tensor<2x3x4xf16>, tensor<4xf32>) -> tensor<2x3x4xf16>
  %n = lm.norm <layer> %r scale %s {epsilon = 1.0e-5 : f64} : (tensor<2x3x4xf32>, tensor<4xf32>) -> tensor<2x3x4xf32>
  // CHECK: %[[Y:.*]] = lm.cast %[[N]] : (tensor<2x3x4xf16>) -> tensor<2x3x4xf32>
  // CHECK: return %[[Y]]
  return %n : tensor<2x3x4xf32>
}

// -----

// A weight beyond the largest f16 keeps its product in f32; bf16 holds it.
// CHECK-LABEL: @large
// BF16-LABEL: @large
func.func @large(%x: tensor<2x4xf32> {lm.name = "x"}) -> (tensor<2x4xf32> {lm.name = "y"}) {
  %w = lm.weight "w" from(dense<[[1.0, 2.0, 3.0, 70000.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]]> : tensor<4x4xf32>) : tensor<4x4xf32>
  %v = lm.weight "v" from(dense<[[1.0, 2.0, 3.0, 5.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]]> : tensor<4x4xf32>) : tensor<4x4xf32>
  // CHECK: lm.linear %{{.*}} -> tensor<2x4xf32>
  // BF16: lm.linear %{{.*}} -> tensor<2x4xbf16>
  %y = lm.linear %x, %w : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  // CHECK: lm.linear %{{.*}} -> tensor<2x4xf16>
  // BF16: lm.linear %{{.*}} -> tensor<2x4xbf16>
  %z = lm.linear %y, %v : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  return %z : tensor<2x4xf32>
}

// -----

// An exponential, and what a quantized product became, stay f32; an
// embedding by position is converted though it needs no input.
// CHECK-LABEL: @others
func.func @others(%x: tensor<?x4xf32, #lm.dims<"S", 4>> {lm.name = "x"}, %q: tensor<2x4xi8> {lm.name = "q"}) -> (tensor<?x4xf32, #lm.dims<"S", 4>> {lm.name = "y"}, tensor<2x4xf32> {lm.name = "z"}) {
  %scale = lm.constant dense<2.0> : tensor<f32>
  %t = lm.weight "t" from(dense<[[1.0, 2.0, 3.0, 5.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]]> : tensor<4x4xf32>) : tensor<4x4xf32>
  // CHECK: lm.exp %{{.*}} -> tensor<?x4xf32
  %e = lm.exp %x : (tensor<?x4xf32, #lm.dims<"S", 4>>) -> tensor<?x4xf32, #lm.dims<"S", 4>>
  %i = lm.iota {axis = 0 : i64} : () -> tensor<?xi64, #lm.dims<"S">>
  // CHECK: lm.embedding %{{.*}} -> tensor<?x4xf16
  %p = lm.embedding %t, %i : (tensor<4x4xf32>, tensor<?xi64, #lm.dims<"S">>) -> tensor<?x4xf32, #lm.dims<"S", 4>>
  // CHECK: lm.add %{{.*}} -> tensor<?x4xf32
  %y = lm.add %e, %p : (tensor<?x4xf32, #lm.dims<"S", 4>>, tensor<?x4xf32, #lm.dims<"S", 4>>) -> tensor<?x4xf32, #lm.dims<"S", 4>>
  %d = lm.dequantize %q scale %scale : (tensor<2x4xi8>, tensor<f32>) -> tensor<2x4xf32>
  // CHECK: lm.linear %{{.*}} -> tensor<2x4xf32>
  %z = lm.linear %d, %t : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  return %y, %z : tensor<?x4xf32, #lm.dims<"S", 4>>, tensor<2x4xf32>
}
