// One small instance of every operation of the dialect, from which docs/operators.md
// is made (operators.cpp). @NAME holds lm.NAME; @NAME.int8 is what quantization
// makes of it. `test.range` bounds the values of an argument; else integers are 0 or
// 1 (valid indices), floats in [-0.9, 0.9]. Sizes: n = 5, b = 2, s = 3.

func.func @abs(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.abs %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @absmax_scale(%x: tensor<2x3xf32>) -> tensor<2x1xf32> {
  %r = lm.absmax_scale %x {axes = array<i64: 1>, qmax = 127.0 : f64} : (tensor<2x3xf32>) -> tensor<2x1xf32>
  return %r : tensor<2x1xf32>
}

func.func @acos(%x: tensor<2x3xf32> {test.range = [-0.8, 0.8]}) -> tensor<2x3xf32> {
  %r = lm.acos %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @acosh(%x: tensor<2x3xf32> {test.range = [1.2, 3.0]}) -> tensor<2x3xf32> {
  %r = lm.acosh %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @add(%a: tensor<2x3xf32>, %b: tensor<3xf32>) -> tensor<2x3xf32> {
  %r = lm.add %a, %b : (tensor<2x3xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @and(%a: tensor<2x3xi1>, %b: tensor<3xi1>) -> tensor<2x3xi1> {
  %r = lm.and %a, %b : (tensor<2x3xi1>, tensor<3xi1>) -> tensor<2x3xi1>
  return %r : tensor<2x3xi1>
}

func.func @arg_reduce(%x: tensor<2x3xf32>) -> tensor<3xi64> {
  %r = lm.arg_reduce %x {axis = 0 : i64, keepdims = false, smallest = true, last = false} : (tensor<2x3xf32>) -> tensor<3xi64>
  return %r : tensor<3xi64>
}

func.func @arg_sort(%x: tensor<2x3xf32>) -> tensor<2x3xi64> {
  %r = lm.arg_sort %x {axis = 1 : i64, descending = true} : (tensor<2x3xf32>) -> tensor<2x3xi64>
  return %r : tensor<2x3xi64>
}

func.func @asin(%x: tensor<2x3xf32> {test.range = [-0.8, 0.8]}) -> tensor<2x3xf32> {
  %r = lm.asin %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @asinh(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.asinh %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @atan(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.atan %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @atanh(%x: tensor<2x3xf32> {test.range = [-0.8, 0.8]}) -> tensor<2x3xf32> {
  %r = lm.atanh %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @attention(%q: tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, %k: tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, %v: tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>) -> tensor<?x?x8xf32, #lm.dims<"b", "s", 8>> {
  %r = lm.attention %q, %k, %v {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<source>} : (tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>) -> tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
  return %r : tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
}

func.func @attention_grad(%q: tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, %k: tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, %v: tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, %g: tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>) -> tensor<?x?x8xf32, #lm.dims<"b", "s", 8>> {
  %r = lm.attention_grad <key> of %q, %k, %v gradient %g {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<source>} : (tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>) -> tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
  return %r : tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
}

func.func @bitcast(%x: tensor<2x3xi8> {test.range = [-9, 9]}) -> tensor<2x3xui8> {
  %r = lm.bitcast %x : (tensor<2x3xi8>) -> tensor<2x3xui8>
  return %r : tensor<2x3xui8>
}

func.func @bitwise_and(%a: tensor<2x3xi32>, %b: tensor<3xi32>) -> tensor<2x3xi32> {
  %r = lm.bitwise_and %a, %b : (tensor<2x3xi32>, tensor<3xi32>) -> tensor<2x3xi32>
  return %r : tensor<2x3xi32>
}

func.func @bitwise_not(%x: tensor<2x3xi32>) -> tensor<2x3xi32> {
  %r = lm.bitwise_not %x : (tensor<2x3xi32>) -> tensor<2x3xi32>
  return %r : tensor<2x3xi32>
}

func.func @bitwise_or(%a: tensor<2x3xi32>, %b: tensor<3xi32>) -> tensor<2x3xi32> {
  %r = lm.bitwise_or %a, %b : (tensor<2x3xi32>, tensor<3xi32>) -> tensor<2x3xi32>
  return %r : tensor<2x3xi32>
}

func.func @bitwise_xor(%a: tensor<2x3xi32>, %b: tensor<3xi32>) -> tensor<2x3xi32> {
  %r = lm.bitwise_xor %a, %b : (tensor<2x3xi32>, tensor<3xi32>) -> tensor<2x3xi32>
  return %r : tensor<2x3xi32>
}

func.func @broadcast(%x: tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<2x?x4xf32, #lm.dims<2, "n", 4>> {
  %r = lm.broadcast %x : (tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<2x?x4xf32, #lm.dims<2, "n", 4>>
  return %r : tensor<2x?x4xf32, #lm.dims<2, "n", 4>>
}

func.func @cast(%x: tensor<2x3xf32>) -> tensor<2x3xf64> {
  %r = lm.cast %x : (tensor<2x3xf32>) -> tensor<2x3xf64>
  return %r : tensor<2x3xf64>
}

func.func @ceil(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.ceil %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @clip(%x: tensor<2x3xf32>, %a: tensor<f32> {test.range = [-1.0, -0.5]}, %b: tensor<f32> {test.range = [0.2, 1.0]}) -> tensor<2x3xf32> {
  %r = lm.clip %x min %a max %b : (tensor<2x3xf32>, tensor<f32>, tensor<f32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @compare(%a: tensor<2x3xf32>, %b: tensor<3xf32>) -> tensor<2x3xi1> {
  %r = lm.compare <le> %a, %b : (tensor<2x3xf32>, tensor<3xf32>) -> tensor<2x3xi1>
  return %r : tensor<2x3xi1>
}

func.func @concat(%x: tensor<?x4xf32, #lm.dims<"n", 4>>, %y: tensor<2x4xf32>) -> tensor<?x4xf32, #lm.dims<"n + 2", 4>> {
  %r = lm.concat %x, %y {axis = 0 : i64} : (tensor<?x4xf32, #lm.dims<"n", 4>>, tensor<2x4xf32>) -> tensor<?x4xf32, #lm.dims<"n + 2", 4>>
  return %r : tensor<?x4xf32, #lm.dims<"n + 2", 4>>
}

func.func @constant(%x: tensor<2x3xi8>) -> tensor<2x3xi8> {
  %c = lm.constant dense<[[1, 2, 3], [4, 5, 6]]> : tensor<2x3xi8>
  %r = lm.add %x, %c : (tensor<2x3xi8>, tensor<2x3xi8>) -> tensor<2x3xi8>
  return %r : tensor<2x3xi8>
}

func.func @conv(%x: tensor<1x2x7xf32>, %w: tensor<3x2x3xf32>, %b: tensor<3xf32>) -> tensor<1x3x4xf32> {
  %r = lm.conv %x, %w bias %b {strides = array<i64: 2>, pads = array<i64: 1, 1>, dilations = array<i64: 1>, groups = 1 : i64} : (tensor<1x2x7xf32>, tensor<3x2x3xf32>, tensor<3xf32>) -> tensor<1x3x4xf32>
  return %r : tensor<1x3x4xf32>
}

func.func @cos(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.cos %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @cum_prod(%x: tensor<2x3xf32> {test.range = [0.5, 2.0]}) -> tensor<2x3xf32> {
  %r = lm.cum_prod %x {axis = 1 : i64, exclusive = false, reverse = false} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @cum_sum(%x: tensor<2x3xf32> {test.range = [0.5, 2.0]}) -> tensor<2x3xf32> {
  %r = lm.cum_sum %x {axis = 1 : i64, exclusive = false, reverse = false} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @define_symbol(%x: tensor<?xf32, #lm.dims<"n">>) -> tensor<?xi64, #lm.dims<"count_b">> {
  %zero = lm.constant dense<0.0> : tensor<f32>
  %mask = lm.compare <gt> %x, %zero : (tensor<?xf32, #lm.dims<"n">>, tensor<f32>) -> tensor<?xi1, #lm.dims<"n">>
  %ones = lm.cast %mask : (tensor<?xi1, #lm.dims<"n">>) -> tensor<?xi64, #lm.dims<"n">>
  %count = lm.reduce <sum> %ones {axes = array<i64: 0>, keepdims = false} : (tensor<?xi64, #lm.dims<"n">>) -> tensor<i64>
  lm.define_symbol "count_b" = %count {bound = #lm.sym<"n"> : tensor<1xi64>} : tensor<i64>
  %r = lm.true_indices %mask : (tensor<?xi1, #lm.dims<"n">>) -> tensor<?xi64, #lm.dims<"count_b">>
  return %r : tensor<?xi64, #lm.dims<"count_b">>
}

func.func @fake_quantize(%x: tensor<2x3xf32> {test.range = [-1.0, 1.0]}, %s: tensor<3xf32> {test.range = [0.02, 0.05]}, %z: tensor<i8>) -> tensor<2x3xf32> {
  %r = lm.fake_quantize %x scale %s zero_point %z as i8 : (tensor<2x3xf32>, tensor<3xf32>, tensor<i8>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @dequantize(%x: tensor<2x3xi8> {test.range = [-100.0, 100.0]}, %s: tensor<f32>, %z: tensor<i8>) -> tensor<2x3xf32> {
  %r = lm.dequantize %x scale %s zero_point %z : (tensor<2x3xi8>, tensor<f32>, tensor<i8>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @div(%a: tensor<2x3xf32>, %b: tensor<3xf32> {test.range = [1.0, 3.0]}) -> tensor<2x3xf32> {
  %r = lm.div %a, %b : (tensor<2x3xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @dropout(%x: tensor<2x3xf32>, %s: tensor<i64>) -> tensor<2x3xf32> {
  %p = lm.constant dense<5.000000e-01> : tensor<f32>
  %r = lm.dropout %x, %p, %s, %s {id = 3 : i64} : (tensor<2x3xf32>, tensor<f32>, tensor<i64>, tensor<i64>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @elu(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.elu %x {alpha = 1.5 : f64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @embedding(%t: tensor<5x8xf32>, %i: tensor<?x?xi64, #lm.dims<"b", "s">>) -> tensor<?x?x8xf32, #lm.dims<"b", "s", 8>> {
  %r = lm.embedding %t, %i : (tensor<5x8xf32>, tensor<?x?xi64, #lm.dims<"b", "s">>) -> tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
  return %r : tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
}

func.func @embedding_grad(%i: tensor<?x?xi64, #lm.dims<"b", "s">>, %g: tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>) -> tensor<5x8xf32> {
  %r = lm.embedding_grad %i, %g : (tensor<?x?xi64, #lm.dims<"b", "s">>, tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>) -> tensor<5x8xf32>
  return %r : tensor<5x8xf32>
}

func.func @erf(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.erf %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @exp(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.exp %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @floor(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.floor %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @gather(%x: tensor<3x4xf32>, %i: tensor<2xi64>) -> tensor<2x4xf32> {
  %r = lm.gather %x, %i {axis = 0 : i64} : (tensor<3x4xf32>, tensor<2xi64>) -> tensor<2x4xf32>
  return %r : tensor<2x4xf32>
}

func.func @gather_elements(%x: tensor<3x4xf32>, %i: tensor<2x4xi64>) -> tensor<2x4xf32> {
  %r = lm.gather_elements %x, %i {axis = 0 : i64} : (tensor<3x4xf32>, tensor<2x4xi64>) -> tensor<2x4xf32>
  return %r : tensor<2x4xf32>
}

func.func @gather_nd(%x: tensor<3x4xf32>, %i: tensor<2x1xi64>) -> tensor<2x4xf32> {
  %r = lm.gather_nd %x, %i {batch_dims = 0 : i64} : (tensor<3x4xf32>, tensor<2x1xi64>) -> tensor<2x4xf32>
  return %r : tensor<2x4xf32>
}

func.func @gelu(%x: tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>) -> tensor<?x?x8xf32, #lm.dims<"b", "s", 8>> {
  %r = lm.gelu <erf> %x : (tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>) -> tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
  return %r : tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
}

func.func @if(%c: tensor<i1>, %x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.if %c : (tensor<i1>) -> tensor<2x3xf32> {
    %a = lm.add %x, %x : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
    lm.yield %a : tensor<2x3xf32>
  } else {
    %b = lm.neg %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
    lm.yield %b : tensor<2x3xf32>
  }
  return %r : tensor<2x3xf32>
}

func.func @iota(%x: tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">> {
  %i = lm.iota {axis = 0 : i64} : () -> tensor<?xf32, #lm.dims<"n">>
  %r = lm.add %x, %i : (tensor<?xf32, #lm.dims<"n">>, tensor<?xf32, #lm.dims<"n">>) -> tensor<?xf32, #lm.dims<"n">>
  return %r : tensor<?xf32, #lm.dims<"n">>
}

func.func @is_inf(%x: tensor<2x3xf32>) -> tensor<2x3xi1> {
  %r = lm.is_inf %x {detect_negative = true, detect_positive = true} : (tensor<2x3xf32>) -> tensor<2x3xi1>
  return %r : tensor<2x3xi1>
}

func.func @is_nan(%x: tensor<2x3xf32>) -> tensor<2x3xi1> {
  %r = lm.is_nan %x : (tensor<2x3xf32>) -> tensor<2x3xi1>
  return %r : tensor<2x3xi1>
}

func.func @kv_append(%c: tensor<1x4x3xf32>, %x: tensor<1x2x3xf32>) -> tensor<1x4x3xf32> {
  %r = lm.kv_append %c, %x {past = #lm.sym<2> : tensor<1xi64>} : (tensor<1x4x3xf32>, tensor<1x2x3xf32>) -> tensor<1x4x3xf32>
  return %r : tensor<1x4x3xf32>
}

func.func @leaky_relu(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.leaky_relu %x {alpha = 0.1 : f64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @linear(%x: tensor<2x3xf32>, %w: tensor<3x4xf32>, %b: tensor<4xf32>) -> tensor<2x4xf32> {
  %r = lm.linear %x, %w bias %b : (tensor<2x3xf32>, tensor<3x4xf32>, tensor<4xf32>) -> tensor<2x4xf32>
  return %r : tensor<2x4xf32>
}

func.func @linear.int8(%x: tensor<2x64xf32>) -> tensor<2x32xf32> {
  %w = lm.weight "weight.q" from(dense<3> : tensor<64x32xi8>) : tensor<64x32xi8>
  %s = lm.weight "weight.s" from(dense<0.5> : tensor<1x32xf32>) : tensor<1x32xf32>
  %scale = lm.absmax_scale %x {axes = array<i64: 1>, qmax = 127.0 : f64} : (tensor<2x64xf32>) -> tensor<2x1xf32>
  %q = lm.quantize %x scale %scale {narrow_range = true} : (tensor<2x64xf32>, tensor<2x1xf32>) -> tensor<2x64xi8>
  %d = lm.dequantize %q scale %scale : (tensor<2x64xi8>, tensor<2x1xf32>) -> tensor<2x64xf32>
  %v = lm.dequantize %w scale %s : (tensor<64x32xi8>, tensor<1x32xf32>) -> tensor<64x32xf32>
  %r = lm.linear %d, %v : (tensor<2x64xf32>, tensor<64x32xf32>) -> tensor<2x32xf32>
  return %r : tensor<2x32xf32>
}

func.func @linear_attention(%q: tensor<1x3x8xf32>, %k: tensor<1x3x8xf32>, %v: tensor<1x3x8xf32>) -> tensor<1x2x7x4xf32> {
  %r = lm.linear_attention %q, %k, %v {num_heads = 2 : i64, scale = 0.5 : f64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0>} : (tensor<1x3x8xf32>, tensor<1x3x8xf32>, tensor<1x3x8xf32>) -> tensor<1x2x7x4xf32>
  return %r : tensor<1x2x7x4xf32>
}

func.func @log(%x: tensor<2x3xf32> {test.range = [0.5, 3.0]}) -> tensor<2x3xf32> {
  %r = lm.log %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @loop(%n: tensor<i64> {test.range = [3.0, 3.0]}, %x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.loop trip %n init(%x) reverse [] : (tensor<i64>, tensor<2x3xf32>) -> tensor<2x3xf32> {
  ^bb0(%i: tensor<i64>, %s: tensor<2x3xf32>):
    %on = lm.constant dense<true> : tensor<i1>
    %y = lm.add %s, %s : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
    lm.yield %on, %y : tensor<i1>, tensor<2x3xf32>
  }
  return %r : tensor<2x3xf32>
}

func.func @matmul(%a: tensor<2x3xf32>, %b: tensor<3x4xf32>) -> tensor<2x4xf32> {
  %r = lm.matmul %a, %b : (tensor<2x3xf32>, tensor<3x4xf32>) -> tensor<2x4xf32>
  return %r : tensor<2x4xf32>
}

func.func @max(%a: tensor<2x3xf32>, %b: tensor<3xf32>) -> tensor<2x3xf32> {
  %r = lm.max %a, %b : (tensor<2x3xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @min(%a: tensor<2x3xf32>, %b: tensor<3xf32>) -> tensor<2x3xf32> {
  %r = lm.min %a, %b : (tensor<2x3xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @mod(%a: tensor<2x3xf32> {test.range = [5.0, 9.0]}, %b: tensor<3xf32> {test.range = [2.0, 4.0]}) -> tensor<2x3xf32> {
  %r = lm.mod %a, %b {fmod = true} : (tensor<2x3xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @mul(%a: tensor<2x3xf32>, %b: tensor<3xf32>) -> tensor<2x3xf32> {
  %r = lm.mul %a, %b : (tensor<2x3xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @neg(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.neg %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @non_max_suppression(%b: tensor<1x4x4xf32>, %s: tensor<1x2x4xf32> {test.range = [0.1, 1.0]}, %m: tensor<i64> {test.range = [2.0, 2.0]}, %t: tensor<f32> {test.range = [0.4, 0.5]}) -> tensor<1x2x4xi64> {
  %r = lm.non_max_suppression %b, %s, %m, %t {center_point_box = false} : (tensor<1x4x4xf32>, tensor<1x2x4xf32>, tensor<i64>, tensor<f32>) -> tensor<1x2x4xi64>
  return %r : tensor<1x2x4xi64>
}

func.func @norm(%x: tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, %g: tensor<8xf32>, %b: tensor<8xf32>) -> tensor<?x?x8xf32, #lm.dims<"b", "s", 8>> {
  %r = lm.norm <layer> %x scale %g bias %b {epsilon = 1.0e-5 : f64} : (tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>, tensor<8xf32>, tensor<8xf32>) -> tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
  return %r : tensor<?x?x8xf32, #lm.dims<"b", "s", 8>>
}

func.func @not(%x: tensor<2x3xi1>) -> tensor<2x3xi1> {
  %r = lm.not %x : (tensor<2x3xi1>) -> tensor<2x3xi1>
  return %r : tensor<2x3xi1>
}

func.func @or(%a: tensor<2x3xi1>, %b: tensor<3xi1>) -> tensor<2x3xi1> {
  %r = lm.or %a, %b : (tensor<2x3xi1>, tensor<3xi1>) -> tensor<2x3xi1>
  return %r : tensor<2x3xi1>
}

func.func @pad(%x: tensor<?x4xf32, #lm.dims<"n", 4>>, %v: tensor<f32>) -> tensor<?x5xf32, #lm.dims<"2*n", 5>> {
  %r = lm.pad %x, %v {low = #lm.sym<0, 1> : tensor<2xi64>, high = #lm.sym<"n", 0> : tensor<2xi64>} : (tensor<?x4xf32, #lm.dims<"n", 4>>, tensor<f32>) -> tensor<?x5xf32, #lm.dims<"2*n", 5>>
  return %r : tensor<?x5xf32, #lm.dims<"2*n", 5>>
}

func.func @pow(%a: tensor<2x3xf32> {test.range = [1.0, 3.0]}, %b: tensor<3xf32> {test.range = [1.0, 2.0]}) -> tensor<2x3xf32> {
  %r = lm.pow %a, %b : (tensor<2x3xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @quantize(%x: tensor<2x3xf32>, %s: tensor<f32> {test.range = [0.01, 0.02]}, %z: tensor<i8>) -> tensor<2x3xi8> {
  %r = lm.quantize %x scale %s zero_point %z : (tensor<2x3xf32>, tensor<f32>, tensor<i8>) -> tensor<2x3xi8>
  return %r : tensor<2x3xi8>
}

func.func @random_bits(%x: tensor<2x3xui64>) -> tensor<2x3xui64> {
  %b = lm.random_bits {seed = 7 : i64} : () -> tensor<2x3xui64>
  %r = lm.bitwise_xor %x, %b : (tensor<2x3xui64>, tensor<2x3xui64>) -> tensor<2x3xui64>
  return %r : tensor<2x3xui64>
}

func.func @reciprocal(%x: tensor<2x3xf32> {test.range = [0.5, 3.0]}) -> tensor<2x3xf32> {
  %r = lm.reciprocal %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @reduce(%x: tensor<2x3xf32>) -> tensor<2x1xf32> {
  %r = lm.reduce <sum> %x {axes = array<i64: 1>, keepdims = true} : (tensor<2x3xf32>) -> tensor<2x1xf32>
  return %r : tensor<2x1xf32>
}

func.func @relu(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.relu %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @reshape(%x: tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<?xf32, #lm.dims<"4*n">> {
  %r = lm.reshape %x : (tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<?xf32, #lm.dims<"4*n">>
  return %r : tensor<?xf32, #lm.dims<"4*n">>
}

func.func @round(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.round %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @scatter_elements(%x: tensor<3x4xf32>, %i: tensor<2x4xi64>, %u: tensor<2x4xf32>) -> tensor<3x4xf32> {
  %r = lm.scatter_elements <add> %x, %i, %u {axis = 0 : i64} : (tensor<3x4xf32>, tensor<2x4xi64>, tensor<2x4xf32>) -> tensor<3x4xf32>
  return %r : tensor<3x4xf32>
}

func.func @scatter_nd(%x: tensor<3x4xf32>, %i: tensor<2x1xi64>, %u: tensor<2x4xf32>) -> tensor<3x4xf32> {
  %r = lm.scatter_nd <add> %x, %i, %u : (tensor<3x4xf32>, tensor<2x1xi64>, tensor<2x4xf32>) -> tensor<3x4xf32>
  return %r : tensor<3x4xf32>
}

func.func @shape(%x: tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<2xi64> {
  %r = lm.shape %x : (tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<2xi64>
  return %r : tensor<2xi64>
}

func.func @shift_left(%a: tensor<2x3xui32> {test.range = [3, 9]}, %b: tensor<3xui32> {test.range = [1.0, 3.0]}) -> tensor<2x3xui32> {
  %r = lm.shift_left %a, %b : (tensor<2x3xui32>, tensor<3xui32>) -> tensor<2x3xui32>
  return %r : tensor<2x3xui32>
}

func.func @shift_right(%a: tensor<2x3xui32> {test.range = [3, 9]}, %b: tensor<3xui32> {test.range = [1.0, 3.0]}) -> tensor<2x3xui32> {
  %r = lm.shift_right %a, %b : (tensor<2x3xui32>, tensor<3xui32>) -> tensor<2x3xui32>
  return %r : tensor<2x3xui32>
}

func.func @sigmoid(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.sigmoid %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @sign(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.sign %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @sin(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.sin %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @slice(%x: tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<?x2xf32, #lm.dims<"n - 1", 2>> {
  %r = lm.slice %x {starts = #lm.sym<1, 2> : tensor<2xi64>, steps = array<i64: 1, 1>} : (tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<?x2xf32, #lm.dims<"n - 1", 2>>
  return %r : tensor<?x2xf32, #lm.dims<"n - 1", 2>>
}

func.func @softmax(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.softmax %x {axis = 1 : i64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @softplus(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.softplus %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @sqrt(%x: tensor<2x3xf32> {test.range = [0.5, 3.0]}) -> tensor<2x3xf32> {
  %r = lm.sqrt %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @sub(%a: tensor<2x3xf32>, %b: tensor<3xf32>) -> tensor<2x3xf32> {
  %r = lm.sub %a, %b : (tensor<2x3xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @tanh(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.tanh %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @transpose(%x: tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<4x?xf32, #lm.dims<4, "n">> {
  %r = lm.transpose %x {perm = array<i64: 1, 0>} : (tensor<?x4xf32, #lm.dims<"n", 4>>) -> tensor<4x?xf32, #lm.dims<4, "n">>
  return %r : tensor<4x?xf32, #lm.dims<4, "n">>
}

func.func @trilu(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.trilu %x {diagonal = 1 : i64, upper = true} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @true_indices(%x: tensor<?xf32, #lm.dims<"n">>) -> tensor<?xi64, #lm.dims<"count_a">> {
  %zero = lm.constant dense<0.0> : tensor<f32>
  %mask = lm.compare <gt> %x, %zero : (tensor<?xf32, #lm.dims<"n">>, tensor<f32>) -> tensor<?xi1, #lm.dims<"n">>
  %ones = lm.cast %mask : (tensor<?xi1, #lm.dims<"n">>) -> tensor<?xi64, #lm.dims<"n">>
  %count = lm.reduce <sum> %ones {axes = array<i64: 0>, keepdims = false} : (tensor<?xi64, #lm.dims<"n">>) -> tensor<i64>
  lm.define_symbol "count_a" = %count {bound = #lm.sym<"n"> : tensor<1xi64>} : tensor<i64>
  %r = lm.true_indices %mask : (tensor<?xi1, #lm.dims<"n">>) -> tensor<?xi64, #lm.dims<"count_a">>
  return %r : tensor<?xi64, #lm.dims<"count_a">>
}

func.func @weight(%x: tensor<2x3xi8>) -> tensor<2x3xi8> {
  %c = lm.weight "w" from(dense<[[1, 2, 3], [4, 5, 6]]> : tensor<2x3xi8>) : tensor<2x3xi8>
  %r = lm.add %x, %c : (tensor<2x3xi8>, tensor<2x3xi8>) -> tensor<2x3xi8>
  return %r : tensor<2x3xi8>
}

func.func @where(%c: tensor<3xi1>, %a: tensor<2x1xf32>, %b: tensor<3xf32>) -> tensor<2x3xf32> {
  %r = lm.where %c, %a, %b : (tensor<3xi1>, tensor<2x1xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  return %r : tensor<2x3xf32>
}

func.func @windows(%x: tensor<2x?xf32, #lm.dims<2, "n">>) -> tensor<2x?x3xf32, #lm.dims<2, "floordiv(n + 1, 2) - 1", 3>> {
  %r = lm.windows %x {axes = array<i64: 1>, sizes = array<i64: 3>, strides = array<i64: 2>, dilations = array<i64: 1>} : (tensor<2x?xf32, #lm.dims<2, "n">>) -> tensor<2x?x3xf32, #lm.dims<2, "floordiv(n + 1, 2) - 1", 3>>
  return %r : tensor<2x?x3xf32, #lm.dims<2, "floordiv(n + 1, 2) - 1", 3>>
}

func.func @xor(%a: tensor<2x3xi1>, %b: tensor<3xi1>) -> tensor<2x3xi1> {
  %r = lm.xor %a, %b : (tensor<2x3xi1>, tensor<3xi1>) -> tensor<2x3xi1>
  return %r : tensor<2x3xi1>
}

func.func @yield(%c: tensor<i1>, %x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %r = lm.if %c : (tensor<i1>) -> tensor<2x3xf32> {
    %a = lm.add %x, %x : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
    lm.yield %a : tensor<2x3xf32>
  } else {
    %b = lm.neg %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
    lm.yield %b : tensor<2x3xf32>
  }
  return %r : tensor<2x3xf32>
}
