// Every operation prints as it parses, also in its generic form.
// RUN: llmopt-opt %s | llmopt-opt | FileCheck %s
// RUN: llmopt-opt %s -mlir-print-op-generic | llmopt-opt | FileCheck %s

// CHECK-LABEL: func @constants
func.func @constants() {
  // CHECK: lm.constant dense<[1, 2]> : tensor<2xi64>
  %0 = lm.constant dense<[1, 2]> : tensor<2xi64>
  // CHECK: lm.weight "w" from(dense<1.000000e+00> : tensor<2xf32>) : tensor<2xf32>
  %1 = lm.weight "w" from(dense<1.0> : tensor<2xf32>) : tensor<2xf32>
  return
}

// CHECK-LABEL: func @unary
func.func @unary(%a: tensor<?xf32, #lm.dims<"n">>, %b: tensor<4xi1>) {
  // CHECK: lm.neg %{{.*}} : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  %0 = lm.neg %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.abs
  %1 = lm.abs %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.exp
  %2 = lm.exp %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.log
  %3 = lm.log %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.sqrt
  %4 = lm.sqrt %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.reciprocal
  %5 = lm.reciprocal %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.sin
  %6 = lm.sin %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.cos
  %7 = lm.cos %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.erf
  %8 = lm.erf %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.tanh
  %9 = lm.tanh %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.sigmoid
  %10 = lm.sigmoid %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.softplus
  %11 = lm.softplus %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.relu
  %12 = lm.relu %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.sign
  %13 = lm.sign %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.floor
  %14 = lm.floor %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.ceil
  %15 = lm.ceil %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.round
  %16 = lm.round %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.not
  %17 = lm.not %b : (tensor<4xi1>) -> tensor<4xi1>
  // CHECK: lm.leaky_relu %{{.*}} {alpha = 1.000000e-02 : f64}
  %18 = lm.leaky_relu %a {alpha = 0.01 : f64} : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.elu
  %19 = lm.elu %a {alpha = 1.0 : f64} : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  // CHECK: lm.is_nan %{{.*}} -> tensor<?xi1, #lm.dims<"n">>
  %20 = lm.is_nan %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xi1, #lm.dims<"n">>
  // CHECK: lm.is_inf
  %21 = lm.is_inf %a {detect_negative = true, detect_positive = false} : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xi1, #lm.dims<"n">>
  // CHECK: lm.cast %{{.*}} -> tensor<?xf16, #lm.dims<"n">>
  %22 = lm.cast %a : (tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf16, #lm.dims<"n">>
  return
}

// CHECK-LABEL: func @binary
func.func @binary(%a: tensor<2x1xf32>, %b: tensor<3xf32>, %p: tensor<3xi1>) {
  // CHECK: lm.add %{{.*}}, %{{.*}} : (tensor<2x1xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  %0 = lm.add %a, %b : (tensor<2x1xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  // CHECK: lm.sub
  %1 = lm.sub %a, %b : (tensor<2x1xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  // CHECK: lm.mul
  %2 = lm.mul %a, %b : (tensor<2x1xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  // CHECK: lm.div
  %3 = lm.div %a, %b : (tensor<2x1xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  // CHECK: lm.pow
  %4 = lm.pow %a, %b : (tensor<2x1xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  // CHECK: lm.mod %{{.*}}, %{{.*}} {fmod = true}
  %5 = lm.mod %a, %b {fmod = true} : (tensor<2x1xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  // CHECK: lm.min
  %6 = lm.min %a, %b : (tensor<2x1xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  // CHECK: lm.max
  %7 = lm.max %a, %b : (tensor<2x1xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  // CHECK: lm.and
  %8 = lm.and %p, %p : (tensor<3xi1>, tensor<3xi1>) -> tensor<3xi1>
  // CHECK: lm.or
  %9 = lm.or %p, %p : (tensor<3xi1>, tensor<3xi1>) -> tensor<3xi1>
  // CHECK: lm.xor
  %10 = lm.xor %p, %p : (tensor<3xi1>, tensor<3xi1>) -> tensor<3xi1>
  // CHECK: lm.compare <le> %{{.*}}, %{{.*}} : (tensor<2x1xf32>, tensor<3xf32>) -> tensor<2x3xi1>
  %11 = lm.compare <le> %a, %b : (tensor<2x1xf32>, tensor<3xf32>) -> tensor<2x3xi1>
  // CHECK: lm.where
  %12 = lm.where %p, %a, %b : (tensor<3xi1>, tensor<2x1xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  %limit = lm.constant dense<0.0> : tensor<f32>
  // CHECK: lm.clip %{{.*}} min %{{.*}} : (tensor<3xf32>, tensor<f32>) -> tensor<3xf32>
  %13 = lm.clip %b min %limit : (tensor<3xf32>, tensor<f32>) -> tensor<3xf32>
  // CHECK: lm.clip %{{.*}} min %{{.*}} max %{{.*}} :
  %14 = lm.clip %b min %limit max %limit : (tensor<3xf32>, tensor<f32>, tensor<f32>) -> tensor<3xf32>
  return
}

// CHECK-LABEL: func @shapes
func.func @shapes(%a: tensor<?x4xf32, #lm.dims<"n", 4>>, %i: tensor<2xi64>, %v: tensor<f32>) {
  // CHECK: lm.shape %{{.*}} -> tensor<2xi64>
  %0 = lm.shape %a : (tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<2xi64>
  // CHECK: lm.reshape %{{.*}} -> tensor<?xf32, #lm.dims<"4*n">>
  %1 = lm.reshape %a : (tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<?xf32, #lm.dims<"4*n">>
  // CHECK: lm.broadcast %{{.*}} -> tensor<2x?x4xf32, #lm.dims<2, "n", 4>>
  %2 = lm.broadcast %a : (tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<2x?x4xf32, #lm.dims<2, "n", 4>>
  // CHECK: lm.transpose %{{.*}} {perm = array<i64: 1, 0>}
  %3 = lm.transpose %a {perm = array<i64: 1, 0>} : (tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<4x?xf32, #lm.dims<4, "n">>
  // CHECK: lm.concat %{{.*}}, %{{.*}} {axis = 0 : i64} {{.*}} -> tensor<?x4xf32, #lm.dims<"2*n", 4>>
  %4 = lm.concat %a, %a {axis = 0 : i64} : (tensor<?x4xf32, #lm.dims<"n", 4>>, tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<?x4xf32, #lm.dims<"2*n", 4>>
  // CHECK: lm.slice %{{.*}} {starts = #lm.sym<"n - 1", 3> : tensor<2xi64>, steps = array<i64: 1, -1>}
  %5 = lm.slice %a {starts = #lm.sym<"n - 1", 3> : tensor<2xi64>, steps = array<i64: 1, -1>} : (tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<1x4xf32>
  // CHECK: lm.pad %{{.*}}, %{{.*}} {high = #lm.sym<"n", 0> : tensor<2xi64>, low = #lm.sym<0, 1> : tensor<2xi64>}
  %6 = lm.pad %a, %v {low = #lm.sym<0, 1> : tensor<2xi64>, high = #lm.sym<"n", 0> : tensor<2xi64>} : (tensor<?x4xf32, #lm.dims<"n", 4>>, tensor<f32>) -> tensor<?x5xf32, #lm.dims<"2*n", 5>>
  // CHECK: lm.gather %{{.*}}, %{{.*}} {axis = 1 : i64} {{.*}} -> tensor<?x2xf32, #lm.dims<"n", 2>>
  %7 = lm.gather %a, %i {axis = 1 : i64} : (tensor<?x4xf32, #lm.dims<"n", 4>>, tensor<2xi64>) -> tensor<?x2xf32, #lm.dims<"n", 2>>
  %i2 = lm.reshape %i : (tensor<2xi64>) -> tensor<1x2xi64>
  // CHECK: lm.gather_elements
  %8 = lm.gather_elements %a, %i2 {axis = 0 : i64} : (tensor<?x4xf32, #lm.dims<"n", 4>>, tensor<1x2xi64>) -> tensor<1x2xf32>
  // CHECK: lm.gather_nd
  %9 = lm.gather_nd %a, %i2 {batch_dims = 0 : i64} : (tensor<?x4xf32, #lm.dims<"n", 4>>, tensor<1x2xi64>) -> tensor<1xf32>
  // CHECK: lm.iota {axis = 0 : i64} : () -> tensor<?xi64, #lm.dims<"n">>
  %10 = lm.iota {axis = 0 : i64} : () -> tensor<?xi64, #lm.dims<"n">>
  // CHECK: lm.trilu %{{.*}} {diagonal = 1 : i64, upper = true}
  %11 = lm.trilu %a {diagonal = 1 : i64, upper = true} : (tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<?x4xf32, #lm.dims<"n", 4>>
  return
}

// CHECK-LABEL: func @reductions
func.func @reductions(%a: tensor<2x3xf32>) {
  // CHECK: lm.reduce <log_sum_exp> %{{.*}} {axes = array<i64: 1>, keepdims = true} : (tensor<2x3xf32>) -> tensor<2x1xf32>
  %0 = lm.reduce <log_sum_exp> %a {axes = array<i64: 1>, keepdims = true} : (tensor<2x3xf32>) -> tensor<2x1xf32>
  // CHECK: lm.arg_reduce
  %1 = lm.arg_reduce %a {axis = 0 : i64, keepdims = false, smallest = true, last = false} : (tensor<2x3xf32>) -> tensor<3xi64>
  // CHECK: lm.cum_sum
  %2 = lm.cum_sum %a {axis = 1 : i64, exclusive = true, reverse = false} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  // CHECK: lm.softmax %{{.*}} {axis = 1 : i64} :
  %3 = lm.softmax %a {axis = 1 : i64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  // CHECK: lm.softmax %{{.*}} {axis = 1 : i64, log = true} :
  %4 = lm.softmax %a {axis = 1 : i64, log = true} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return
}

// CHECK-LABEL: func @products
func.func @products(%x: tensor<?x6xf32, #lm.dims<"n", 6>>, %w: tensor<6x8xf32>, %b: tensor<8xf32>, %i: tensor<1x4x9xf32>, %k: tensor<6x2x3xf32>) {
  // CHECK: lm.matmul %{{.*}} -> tensor<?x8xf32, #lm.dims<"n", 8>>
  %0 = lm.matmul %x, %w : (tensor<?x6xf32, #lm.dims<"n", 6>>, tensor<6x8xf32>) -> tensor<?x8xf32, #lm.dims<"n", 8>>
  // CHECK: lm.linear %{{.*}}, %{{.*}} bias %{{.*}} :
  %1 = lm.linear %x, %w bias %b : (tensor<?x6xf32, #lm.dims<"n", 6>>, tensor<6x8xf32>, tensor<8xf32>) -> tensor<?x8xf32, #lm.dims<"n", 8>>
  // CHECK: lm.conv
  %2 = lm.conv %i, %k {strides = array<i64: 2>, pads = array<i64: 1, 1>, dilations = array<i64: 1>, groups = 2 : i64} : (tensor<1x4x9xf32>, tensor<6x2x3xf32>) -> tensor<1x6x5xf32>
  return
}

// CHECK-LABEL: func @windows
func.func @windows(%x: tensor<2x?xf32, #lm.dims<2, "n">>) {
  // CHECK: lm.windows %{{.*}} {axes = array<i64: 1>, dilations = array<i64: 1>, sizes = array<i64: 3>, strides = array<i64: 2>} : {{.*}} -> tensor<2x?x3xf32, #lm.dims<2, "floordiv(n + 1, 2) - 1", 3>>
  %0 = lm.windows %x {axes = array<i64: 1>, sizes = array<i64: 3>, strides = array<i64: 2>, dilations = array<i64: 1>} : (tensor<2x?xf32, #lm.dims<2, "n">>) -> tensor<2x?x3xf32, #lm.dims<2, "floordiv(n + 1, 2) - 1", 3>>
  return
}

// CHECK-LABEL: func @transformer
func.func @transformer(%x: tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, %g: tensor<8xf32>, %t: tensor<10x8xf32>, %ids: tensor<?x?xi64, #lm.dims<"b", "s">>, %m: tensor<?x1x1x?xf32, #lm.dims<"b", 1, 1, "s">>) {
  // CHECK: lm.norm <layer> %{{.*}} scale %{{.*}} bias %{{.*}} {epsilon = {{.*}} : f64}
  %0 = lm.norm <layer> %x scale %g bias %g {epsilon = 1.0e-12 : f64} : (tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, tensor<8xf32>, tensor<8xf32>) -> tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
  // CHECK: lm.norm <rms> %{{.*}} scale %{{.*}} {epsilon
  %1 = lm.norm <rms> %x scale %g {epsilon = 0.5 : f64} : (tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, tensor<8xf32>) -> tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
  // CHECK: lm.gelu <tanh> %{{.*}} :
  %2 = lm.gelu <tanh> %x : (tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>) -> tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
  // CHECK: lm.embedding
  %3 = lm.embedding %t, %ids : (tensor<10x8xf32>, tensor<?x?xi64, #lm.dims<"b", "s">>) -> tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
  // CHECK: lm.embedding_grad
  %4 = lm.embedding_grad %ids, %x : (tensor<?x?xi64, #lm.dims<"b", "s">>, tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>) -> tensor<10x8xf32>
  // CHECK: lm.attention %{{.*}}, %{{.*}}, %{{.*}} mask %{{.*}} {fully_masked = #lm.fully_masked<source>, kv_num_heads = 2 : i64, mask_kind = #lm.mask_kind<additive>, num_heads = 2 : i64, scale = 5.000000e-01 : f64}
  %5 = lm.attention %x, %x, %x mask %m {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, mask_kind = #lm.mask_kind<additive>, fully_masked = #lm.fully_masked<source>} : (tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, tensor<?x1x1x?xf32, #lm.dims<"b", 1, 1, "s">>) -> tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
  return
}

// CHECK-LABEL: func @quantization
func.func @quantization(%x: tensor<2x3xf32>, %z: tensor<i8>) {
  // CHECK: lm.absmax_scale
  %0 = lm.absmax_scale %x {axes = array<i64: 1>, qmax = 127.0 : f64} : (tensor<2x3xf32>) -> tensor<2x1xf32>
  // CHECK: lm.quantize %{{.*}} scale %{{.*}} zero_point %{{.*}} :
  %1 = lm.quantize %x scale %0 zero_point %z : (tensor<2x3xf32>, tensor<2x1xf32>, tensor<i8>) -> tensor<2x3xi8>
  // CHECK: lm.dequantize %{{.*}} scale %{{.*}} : (tensor<2x3xi8>, tensor<2x1xf32>) -> tensor<2x3xf32>
  %2 = lm.dequantize %1 scale %0 : (tensor<2x3xi8>, tensor<2x1xf32>) -> tensor<2x3xf32>
  return
}
