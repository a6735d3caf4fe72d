// The evaluator against values worked out by hand or by numpy: elementwise,
// shape, reduction and matrix operations, and whole functions.
#include "EvalFixture.h"

using namespace mlir;
using namespace llmopt::lm;

namespace {

using Evaluator = EvalFixture;
constexpr double kNaN = NAN, kInf = INFINITY;

TEST_F(Evaluator, UnaryFloats) {
  Tensor x = floats({5}, {-2.5, -0.0, 0.5, 3, kNaN});
  std::string type = "tensor<5xf32>";
  auto check = [&](const char *op, ArrayRef<double> expected) {
    SCOPED_TRACE(op);
    expectFloats(eval(std::string(op) + " %0", {x}, type), expected, 1e-7);
  };
  check("lm.neg", {2.5, 0, -0.5, -3, kNaN});
  check("lm.abs", {2.5, 0, 0.5, 3, kNaN});
  check("lm.exp", {0.0820849986, 1, 1.6487212707, 20.0855369232, kNaN});
  check("lm.log", {kNaN, -kInf, -0.6931471806, 1.0986122887, kNaN});
  check("lm.sqrt", {kNaN, 0, 0.7071067812, 1.7320508076, kNaN});
  check("lm.reciprocal", {-0.4, -kInf, 2, 0.3333333333, kNaN});
  check("lm.sin", {-0.5984721441, 0, 0.4794255386, 0.1411200081, kNaN});
  check("lm.cos", {-0.8011436155, 1, 0.8775825619, -0.9899924966, kNaN});
  check("lm.erf", {-0.9995930480, 0, 0.5204998778, 0.9999779095, kNaN});
  check("lm.tanh", {-0.9866142982, 0, 0.4621171573, 0.9950547537, kNaN});
  check("lm.sigmoid", {0.0758581800, 0.5, 0.6224593312, 0.9525741268, kNaN});
  check("lm.softplus", {0.0788897343, 0.6931471806, 0.9740769842, 3.0485873516, kNaN});
  check("lm.relu", {0, 0, 0.5, 3, kNaN});
  check("lm.sign", {-1, 0, 1, 1, kNaN});
  check("lm.floor", {-3, 0, 0, 3, kNaN});
  check("lm.ceil", {-2, 0, 1, 3, kNaN});
  check("lm.round", {-2, 0, 0, 3, kNaN});
  expectFloats(eval("lm.leaky_relu %0 {alpha = 0.1 : f64}", {x}, type), {-0.25, 0, 0.5, 3, kNaN}, 1e-7);
  expectFloats(eval("lm.elu %0 {alpha = 2.0 : f64}", {x}, type), {-1.8358300028, 0, 0.5, 3, kNaN}, 1e-7);
  expectInts(eval("lm.is_nan %0", {x}, "tensor<5xi1>"), {0, 0, 0, 0, 1});
  Tensor infinities = floats({3}, {-kInf, kInf, 1});
  expectInts(eval("lm.is_inf %0 {detect_negative = true, detect_positive = false}", {infinities}, "tensor<3xi1>"),
             {1, 0, 0});
  expectInts(eval("lm.is_inf %0 {detect_negative = false, detect_positive = true}", {infinities}, "tensor<3xi1>"),
             {0, 1, 0});
}

TEST_F(Evaluator, ResultsAreRoundedToTheType) {
  Tensor third = floats(f16, {1}, {3});
  expectFloats(eval("lm.reciprocal %0", {third}, "tensor<1xf16>"), {0x1.554p-2});
  // 65504 + 16 is a tie that goes to infinity.
  Tensor big = floats(f16, {1}, {65504}), step = floats(f16, {1}, {16});
  expectFloats(eval("lm.add %0, %1", {big, step}, "tensor<1xf16>"), {kInf});
}

TEST_F(Evaluator, UnaryIntegers) {
  Tensor x = ints(i8, {4}, {-128, -1, 0, 5});
  expectInts(eval("lm.neg %0", {x}, "tensor<4xi8>"), {-128, 1, 0, -5});
  expectInts(eval("lm.abs %0", {x}, "tensor<4xi8>"), {-128, 1, 0, 5});
  expectInts(eval("lm.sign %0", {x}, "tensor<4xi8>"), {-1, -1, 0, 1});
  expectInts(eval("lm.relu %0", {x}, "tensor<4xi8>"), {0, 0, 0, 5});
  expectInts(eval("lm.not %0", {ints(i1, {2}, {0, 1})}, "tensor<2xi1>"), {1, 0});
}

TEST_F(Evaluator, BinaryBroadcasts) {
  Tensor a = floats({2, 1}, {1, -2}), b = floats({3}, {10, 0, 0.5});
  std::string type = "tensor<2x3xf32>";
  expectFloats(eval("lm.add %0, %1", {a, b}, type), {11, 1, 1.5, 8, -2, -1.5});
  expectFloats(eval("lm.sub %0, %1", {a, b}, type), {-9, 1, 0.5, -12, -2, -2.5});
  expectFloats(eval("lm.mul %0, %1", {a, b}, type), {10, 0, 0.5, -20, 0, -1});
  expectFloats(eval("lm.div %0, %1", {a, b}, type), {0.1, kInf, 2, -0.2, -kInf, -4}, 1e-7);
  expectFloats(eval("lm.pow %0, %1", {a, b}, type), {1, 1, 1, 1024, 1, kNaN});
  expectFloats(eval("lm.min %0, %1", {a, b}, type), {1, 0, 0.5, -2, -2, -2});
  expectFloats(eval("lm.max %0, %1", {a, b}, type), {10, 1, 1, 10, 0, 0.5});
  Tensor nan = floats({1}, {kNaN});
  expectFloats(eval("lm.max %0, %1", {a, nan}, "tensor<2x1xf32>"), {kNaN, kNaN});
  expectFloats(eval("lm.min %1, %0 : (tensor<1xf32>, tensor<2x1xf32>) -> tensor<2x1xf32>", {a, nan}, "tensor<2x1xf32>"),
               {kNaN, kNaN});
}

TEST_F(Evaluator, IntegerArithmetic) {
  Tensor a = ints({4}, {7, -7, INT64_MIN, 5}), b = ints({4}, {-2, 2, -1, 3});
  std::string type = "tensor<4xi64>";
  expectInts(eval("lm.div %0, %1", {a, b}, type), {-3, -3, INT64_MIN, 1});
  expectInts(eval("lm.mod %0, %1 {fmod = false}", {a, b}, type), {-1, 1, 0, 2});
  expectInts(eval("lm.mod %0, %1 {fmod = true}", {a, b}, type), {1, -1, 0, 2});
  expectInts(eval("lm.mul %0, %1", {a, b}, type), {-14, -14, INT64_MIN, 15});
  expectInts(eval("lm.pow %0, %1", {ints({4}, {2, -1, 3, 0}), ints({4}, {62, 3, -1, 0})}, type),
             {int64_t(1) << 62, -1, 0, 1});
  expectInts(eval("lm.add %0, %1", {ints(u8, {1}, {250}), ints(u8, {1}, {10})}, "tensor<1xui8>"), {4});
  expectInts(eval("lm.max %0, %1", {ints(u64, {1}, {-1}), ints(u64, {1}, {1})}, "tensor<1xui64>"), {-1});
  expectFailure(eval("lm.div %0, %1", {a, ints({1}, {0})}, type), "integer division by zero");
  expectFailure(eval("lm.mod %0, %1 {fmod = true}", {a, ints({1}, {0})}, type), "integer division by zero");
  Tensor x = floats({3}, {5.5, -5.5, 5.5}), y = floats({3}, {2, 2, -2});
  expectFloats(eval("lm.mod %0, %1 {fmod = true}", {x, y}, "tensor<3xf32>"), {1.5, -1.5, 1.5});
  expectFloats(eval("lm.mod %0, %1 {fmod = false}", {x, y}, "tensor<3xf32>"), {1.5, 0.5, -0.5});
}

TEST_F(Evaluator, Comparisons) {
  Tensor a = floats({4}, {1, 2, kNaN, 3}), b = floats({4}, {2, 2, 1, kNaN});
  std::string type = "tensor<4xi1>";
  expectInts(eval("lm.compare <eq> %0, %1", {a, b}, type), {0, 1, 0, 0});
  expectInts(eval("lm.compare <lt> %0, %1", {a, b}, type), {1, 0, 0, 0});
  expectInts(eval("lm.compare <le> %0, %1", {a, b}, type), {1, 1, 0, 0});
  expectInts(eval("lm.compare <gt> %0, %1", {a, b}, type), {0, 0, 0, 0});
  expectInts(eval("lm.compare <ge> %0, %1", {a, b}, type), {0, 1, 0, 0});
  expectInts(eval("lm.compare <lt> %0, %1", {ints(u64, {1}, {1}), ints(u64, {1}, {-1})}, "tensor<1xi1>"), {1});
  Tensor p = ints(i1, {4}, {0, 0, 1, 1}), q = ints(i1, {4}, {0, 1, 0, 1});
  expectInts(eval("lm.and %0, %1", {p, q}, type), {0, 0, 0, 1});
  expectInts(eval("lm.or %0, %1", {p, q}, type), {0, 1, 1, 1});
  expectInts(eval("lm.xor %0, %1", {p, q}, type), {0, 1, 1, 0});
  expectFloats(
      eval("lm.where %0, %1, %2", {ints(i1, {2, 1}, {1, 0}), floats({2}, {1, 2}), floats({1}, {9})}, "tensor<2x2xf32>"),
      {1, 2, 9, 9});
}

TEST_F(Evaluator, Clip) {
  Tensor x = floats({4}, {-5, 0.5, 7, kNaN}), low = floats({}, {-1}), high = floats({1}, {2});
  std::string types = " : (tensor<4xf32>, tensor<f32>, tensor<1xf32>) -> tensor<4xf32>";
  expectFloats(eval("lm.clip %0 min %1 max %2" + types, {x, low, high}, "tensor<4xf32>"), {-1, 0.5, 2, kNaN});
  expectFloats(eval("lm.clip %0 max %1 : (tensor<4xf32>, tensor<1xf32>) -> tensor<4xf32>", {x, high}, "tensor<4xf32>"),
               {-5, 0.5, 2, kNaN});
}

TEST_F(Evaluator, Casts) {
  Tensor x = floats({6}, {1.9, -1.9, 300, -300, 3e9, kNaN});
  expectInts(eval("lm.cast %0", {x}, "tensor<6xi64>"), {1, -1, 300, -300, 3000000000, INT64_MIN});
  expectInts(eval("lm.cast %0", {x}, "tensor<6xi32>"), {1, -1, 300, -300, INT32_MIN, INT32_MIN});
  expectInts(eval("lm.cast %0", {x}, "tensor<6xi8>"), {1, -1, 44, -44, 0, 0});
  expectInts(eval("lm.cast %0", {x}, "tensor<6xui8>"), {1, 255, 44, 212, 0, 0});
  expectInts(eval("lm.cast %0", {x}, "tensor<6xi1>"), {1, 1, 1, 1, 1, 1});
  expectInts(eval("lm.cast %0", {ints({3}, {256, -1, 2})}, "tensor<3xi1>"), {1, 1, 1});
  expectInts(eval("lm.cast %0", {ints({3}, {256, -1, 129})}, "tensor<3xi8>"), {0, -1, -127});
  expectFloats(eval("lm.cast %0", {ints({2}, {(int64_t(1) << 53) + 1, 16777217})}, "tensor<2xf32>"),
               {0x1p53, 16777216});
  expectFloats(eval("lm.cast %0", {ints(u64, {1}, {-1})}, "tensor<1xf32>"), {0x1p64});
  expectFloats(eval("lm.cast %0", {floats({2}, {1.0 + 0x1p-11, 1e6})}, "tensor<2xf16>"), {1, kInf});
}

TEST_F(Evaluator, Movement) {
  Tensor x = ints({2, 3}, {0, 1, 2, 3, 4, 5});
  expectInts(eval("lm.shape %0", {x}, "tensor<2xi64>"), {2, 3});
  expectInts(eval("lm.transpose %0 {perm = array<i64: 1, 0>}", {x}, "tensor<3x2xi64>"), {0, 3, 1, 4, 2, 5});
  expectInts(eval("lm.reshape %0", {x}, "tensor<3x2xi64>"), {0, 1, 2, 3, 4, 5});
  expectInts(eval("lm.broadcast %0", {ints({2, 1}, {7, 8})}, "tensor<2x2x3xi64>"),
             {7, 7, 7, 8, 8, 8, 7, 7, 7, 8, 8, 8});
  expectInts(eval("lm.concat %0, %1 {axis = 1 : i64}", {x, ints({2, 1}, {9, 8})}, "tensor<2x4xi64>"),
             {0, 1, 2, 9, 3, 4, 5, 8});
  expectInts(
      eval("lm.slice %0 {starts = #lm.sym<1, 2> : tensor<2xi64>, steps = array<i64: -1, -2>}", {x}, "tensor<2x2xi64>"),
      {5, 3, 2, 0});
  expectInts(eval("lm.pad %0, %1 {low = #lm.sym<1, 0> : tensor<2xi64>, high = #lm.sym<0, 1> : tensor<2xi64>}",
                  {x, ints({}, {-1})}, "tensor<3x4xi64>"),
             {-1, -1, -1, -1, 0, 1, 2, -1, 3, 4, 5, -1});
  expectInts(eval("lm.iota {axis = 1 : i64} : () -> tensor<2x3xi64>", {}, "tensor<2x3xi64>"), {0, 1, 2, 0, 1, 2});
  expectInts(eval("lm.trilu %0 {diagonal = 1 : i64, upper = true}", {x}, "tensor<2x3xi64>"), {0, 1, 2, 0, 0, 5});
  expectInts(eval("lm.trilu %0 {diagonal = 0 : i64, upper = false}", {x}, "tensor<2x3xi64>"), {0, 0, 0, 3, 4, 0});
  expectInts(eval("lm.trilu %0 {diagonal = 9223372036854775807 : i64, upper = false}", {x}, "tensor<2x3xi64>"),
             {0, 1, 2, 3, 4, 5});
}

TEST_F(Evaluator, EmptyTensors) {
  Tensor none = floats({0, 3}, {});
  EXPECT_EQ(eval("lm.transpose %0 {perm = array<i64: 1, 0>}", {none}, "tensor<3x0xf32>").getNumElements(), 0);
  EXPECT_EQ(eval("lm.softmax %0 {axis = 0 : i64}", {none}, "tensor<0x3xf32>").getNumElements(), 0);
  EXPECT_EQ(eval("lm.trilu %0 {diagonal = 0 : i64, upper = true}", {none}, "tensor<0x3xf32>").getNumElements(), 0);
  expectFloats(eval("lm.concat %0, %1 {axis = 0 : i64}", {none, floats({1, 3}, {1, 2, 3})}, "tensor<1x3xf32>"),
               {1, 2, 3});
  expectFloats(eval("lm.reduce <sum> %0 {axes = array<i64: 0>, keepdims = false}", {none}, "tensor<3xf32>"), {0, 0, 0});
  expectFloats(eval("lm.reduce <max> %0 {axes = array<i64: 0>, keepdims = false}", {none}, "tensor<3xf32>"),
               {-kInf, -kInf, -kInf});
  expectFloats(eval("lm.matmul %0, %1", {floats({2, 0}, {}), none}, "tensor<2x3xf32>"), {0, 0, 0, 0, 0, 0});
  expectFailure(eval("lm.gather %0, %1 {axis = 0 : i64}", {none, ints({1}, {0})}, "tensor<1x3xf32>"),
                "expected an index in [-0, 0), but got 0");
}

TEST_F(Evaluator, Gathers) {
  Tensor x = ints({3, 2}, {0, 1, 10, 11, 20, 21});
  expectInts(eval("lm.gather %0, %1 {axis = 0 : i64}", {x, ints({2}, {-1, 0})}, "tensor<2x2xi64>"), {20, 21, 0, 1});
  expectInts(eval("lm.gather %0, %1 {axis = 1 : i64}", {x, ints({}, {1})}, "tensor<3xi64>"), {1, 11, 21});
  expectInts(eval("lm.gather_elements %0, %1 {axis = 0 : i64}", {x, ints({1, 2}, {2, -2})}, "tensor<1x2xi64>"),
             {20, 11});
  expectInts(eval("lm.gather_nd %0, %1 {batch_dims = 0 : i64}", {x, ints({2, 2}, {1, 1, -1, 0})}, "tensor<2xi64>"),
             {11, 20});
  expectInts(eval("lm.gather_nd %0, %1 {batch_dims = 0 : i64}", {x, ints({1, 1}, {1})}, "tensor<1x2xi64>"), {10, 11});
  expectInts(eval("lm.gather_nd %0, %1 {batch_dims = 1 : i64}", {x, ints({3, 1}, {1, 0, 1})}, "tensor<3xi64>"),
             {1, 10, 21});
  expectFloats(
      eval("lm.embedding %0, %1", {floats({2, 2}, {1, 2, 3, 4}), ints({1, 3}, {1, 0, -1})}, "tensor<1x3x2xf32>"),
      {3, 4, 1, 2, 3, 4});
  expectFailure(eval("lm.gather %0, %1 {axis = 0 : i64}", {x, ints({1}, {3})}, "tensor<1x2xi64>"),
                "expected an index in [-3, 3), but got 3");
}

TEST_F(Evaluator, Reductions) {
  Tensor x = floats({2, 3}, {1, -2, 3, 4, 5, -6});
  auto reduce = [&](const char *kind) {
    return eval("lm.reduce <" + std::string(kind) + "> %0 {axes = array<i64: 1>, keepdims = true}", {x},
                "tensor<2x1xf32>");
  };
  expectFloats(reduce("sum"), {2, 3});
  expectFloats(reduce("mean"), {0.6666666667, 1}, 1e-7);
  expectFloats(reduce("max"), {3, 5});
  expectFloats(reduce("min"), {-2, -6});
  expectFloats(reduce("prod"), {-6, -120});
  expectFloats(reduce("l1"), {6, 15});
  expectFloats(reduce("l2"), {3.7416573868, 8.7749643874}, 1e-7);
  expectFloats(reduce("sum_square"), {14, 77});
  expectFloats(reduce("log_sum"), {0.6931471806, 1.0986122887}, 1e-7);
  expectFloats(reduce("log_sum_exp"), {3.1328452337, 5.3132738974}, 1e-7);
  expectFloats(eval("lm.reduce <sum> %0 {axes = array<i64: 0, 1>, keepdims = false}", {x}, "tensor<f32>"), {5});
  expectFloats(eval("lm.reduce <sum> %0 {axes = array<i64: 0>, keepdims = false}", {x}, "tensor<3xf32>"), {5, 3, -3});
  Tensor n = ints(i8, {4}, {100, 100, -3, 3});
  expectInts(eval("lm.reduce <sum> %0 {axes = array<i64: 0>, keepdims = false}", {n}, "tensor<i8>"), {-56});
  expectInts(eval("lm.reduce <min> %0 {axes = array<i64: 0>, keepdims = false}", {n}, "tensor<i8>"), {-3});
  expectInts(eval("lm.reduce <max> %0 {axes = array<i64: 0>, keepdims = false}", {ints(i8, {0}, {})}, "tensor<i8>"),
             {-128});
  expectInts(eval("lm.reduce <min> %0 {axes = array<i64: 0>, keepdims = false}", {ints(i64, {0}, {})}, "tensor<i64>"),
             {INT64_MAX});
  // Large values do not overflow on the way.
  expectFloats(eval("lm.reduce <log_sum_exp> %0 {axes = array<i64: 0>, keepdims = false}", {floats({2}, {1000, 1000})},
                    "tensor<f32>"),
               {1000.6931471806}, 1e-7);
}

TEST_F(Evaluator, ArgReduceAndScans) {
  Tensor x = floats({2, 3}, {1, 3, 3, kNaN, 2, -1});
  auto arg = [&](const char *smallest, const char *last) {
    return eval(std::string("lm.arg_reduce %0 {axis = 1 : i64, keepdims = false, smallest = ") + smallest +
                    ", last = " + last + "}",
                {x}, "tensor<2xi64>");
  };
  expectInts(arg("false", "false"), {1, 0});
  expectInts(arg("false", "true"), {2, 0});
  expectInts(arg("true", "false"), {0, 0});
  Tensor n = ints({4}, {1, 2, 3, 4});
  auto scan = [&](const char *exclusive, const char *reverse) {
    return eval(std::string("lm.cum_sum %0 {axis = 0 : i64, exclusive = ") + exclusive + ", reverse = " + reverse + "}",
                {n}, "tensor<4xi64>");
  };
  expectInts(scan("false", "false"), {1, 3, 6, 10});
  expectInts(scan("true", "false"), {0, 1, 3, 6});
  expectInts(scan("false", "true"), {10, 9, 7, 4});
  expectInts(scan("true", "true"), {9, 7, 4, 0});
}

TEST_F(Evaluator, Softmax) {
  Tensor x = floats({2, 2}, {1, 3, -kInf, -kInf});
  expectFloats(eval("lm.softmax %0 {axis = 1 : i64}", {x}, "tensor<2x2xf32>"), {0.1192029220, 0.8807970780, kNaN, kNaN},
               1e-7);
  expectFloats(eval("lm.softmax %0 {axis = 1 : i64, log = true}", {x}, "tensor<2x2xf32>"),
               {-2.1269280110, -0.1269280110, kNaN, kNaN}, 1e-7);
  expectFloats(eval("lm.softmax %0 {axis = 0 : i64}", {floats({2, 1}, {10000, 10000})}, "tensor<2x1xf32>"), {0.5, 0.5});
}

TEST_F(Evaluator, MatMul) {
  Tensor a = floats({2, 2}, {1, 2, 3, 4}), v = floats({2}, {1, -1});
  expectFloats(eval("lm.matmul %0, %1", {a, a}, "tensor<2x2xf32>"), {7, 10, 15, 22});
  expectFloats(eval("lm.matmul %0, %1", {a, v}, "tensor<2xf32>"), {-1, -1});
  expectFloats(eval("lm.matmul %0, %1", {v, a}, "tensor<2xf32>"), {-2, -2});
  expectFloats(eval("lm.matmul %0, %1", {v, v}, "tensor<f32>"), {2});
  Tensor batch = floats({2, 1, 2}, {1, 0, 0, 1}), stack = floats({1, 2, 2}, {1, 2, 3, 4});
  expectFloats(eval("lm.matmul %0, %1", {batch, stack}, "tensor<2x1x2xf32>"), {1, 2, 3, 4});
  expectInts(
      eval("lm.matmul %0, %1", {ints(i32, {1, 2}, {1 << 30, 1 << 30}), ints(i32, {2, 1}, {2, 2})}, "tensor<1x1xi32>"),
      {0});
  // One rounding for the sum, not one per product.
  expectFloats(eval("lm.matmul %0, %1", {floats({3}, {0x1p24, 1, 1}), floats({3}, {1, 1, 1})}, "tensor<f32>"),
               {16777218});
}

TEST_F(Evaluator, Linear) {
  Tensor x = floats({1, 1, 2}, {1, 2}), w = floats({2, 3}, {1, 2, 3, 4, 5, 6}), b = floats({3}, {0.5, 0, -1});
  std::string types = " : (tensor<1x1x2xf32>, tensor<2x3xf32>, tensor<3xf32>) -> tensor<1x1x3xf32>";
  expectFloats(eval("lm.linear %0, %1 bias %2" + types, {x, w, b}, "tensor<1x1x3xf32>"), {9.5, 12, 14});
  Tensor t = floats({3, 2}, {1, 4, 2, 5, 3, 6});
  expectFloats(eval("lm.linear %0, %1 {transpose_weight = true}", {x, t}, "tensor<1x1x3xf32>"), {9, 12, 15});
}

TEST_F(Evaluator, Conv) {
  Tensor x = floats({1, 1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9}), w = floats({1, 1, 2, 2}, {1, 0, 0, -1});
  std::string attrs =
      " {strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, groups = 1 : i64}";
  expectFloats(eval("lm.conv %0, %1" + attrs, {x, w}, "tensor<1x1x2x2xf32>"), {-4, -4, -4, -4});
  // Stride 2 and a pad in front: taps at (-1, 1), with zeros outside.
  std::string padded =
      " {strides = array<i64: 2, 2>, pads = array<i64: 1, 1, 0, 0>, dilations = array<i64: 1, 1>, groups = 1 : i64}";
  expectFloats(eval("lm.conv %0, %1" + padded, {x, w}, "tensor<1x1x2x2xf32>"), {-1, -3, -7, -4});
  // Two groups of one channel each, with bias, 1-D, dilation 2.
  Tensor y = floats({1, 2, 3}, {1, 2, 3, 4, 5, 6}), k = floats({2, 1, 2}, {1, 1, 1, -1}), b = floats({2}, {10, 20});
  expectFloats(
      eval("lm.conv %0, %1 bias %2 {strides = array<i64: 1>, pads = array<i64: 0, 0>, dilations = array<i64: 2>, "
           "groups = 2 : i64} : (tensor<1x2x3xf32>, tensor<2x1x2xf32>, tensor<2xf32>) -> tensor<1x2x1xf32>",
           {y, k, b}, "tensor<1x2x1xf32>"),
      {14, 18});
}

TEST_F(Evaluator, ConvOfIntegersWraps) {
  Tensor x = ints(i8, {1, 1, 3}, {100, 2, -3}), w = ints(i8, {1, 1, 2}, {2, 1});
  expectInts(eval("lm.conv %0, %1 {strides = array<i64: 1>, pads = array<i64: 0, 1>, dilations = array<i64: 1>, groups "
                  "= 1 : i64}",
                  {x, w}, "tensor<1x1x3xi8>"),
             {-54, 1, -6}); // 202 - 256
}

TEST_F(Evaluator, Windows) {
  // Along the first dimension two of the elements 0, 2 apart; along the second three, by steps of 2.
  Tensor x = ints({3, 5}, {0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24});
  expectInts(eval("lm.windows %0 {axes = array<i64: 1, 0>, sizes = array<i64: 3, 2>, strides = array<i64: 2, 1>, "
                  "dilations = array<i64: 1, 2>}",
                  {x}, "tensor<1x2x3x2xi64>"),
             {0, 20, 1, 21, 2, 22, 2, 22, 3, 23, 4, 24});
}

//===- Functions -----------------------------------------------------------===//

TEST_F(Evaluator, SymbolsAreBoundByInputsAndChecked) {
  auto module = parse(R"(
    func.func @f(%a: tensor<?x?xf32, #lm.dims<"b", "s">>, %c: tensor<?xf32, #lm.dims<"s">>) -> (tensor<?xf32, #lm.dims<"b*s">>, tensor<3xi64>) {
      %0 = lm.add %a, %c : (tensor<?x?xf32, #lm.dims<"b", "s">>, tensor<?xf32, #lm.dims<"s">>) -> tensor<?x?xf32, #lm.dims<"b", "s">>
      %1 = lm.reshape %0 : (tensor<?x?xf32, #lm.dims<"b", "s">>) -> tensor<?xf32, #lm.dims<"b*s">>
      %2 = lm.constant #lm.sym<"b", 7, "b*s"> : tensor<3xi64>
      return %1, %2 : tensor<?xf32, #lm.dims<"b*s">>, tensor<3xi64>
    })");
  ASSERT_TRUE(module) << diagnostics;
  func::FuncOp function = *module->getOps<func::FuncOp>().begin();
  auto results = evaluate(function, {floats({2, 3}, {1, 2, 3, 4, 5, 6}), floats({3}, {10, 20, 30})});
  ASSERT_TRUE(succeeded(results)) << diagnostics;
  expectFloats((*results)[0], {11, 22, 33, 14, 25, 36});
  expectInts((*results)[1], {2, 7, 6});
  EXPECT_TRUE(failed(evaluate(function, {floats({2, 3}, 1.0), floats({4}, 1.0)})));
  EXPECT_NE(diagnostics.find("expected dimension 0 of input 1 to be s = 3, but got 4"), std::string::npos)
      << diagnostics;
  EXPECT_TRUE(failed(evaluate(function, {floats({2, 3}, 1.0)})));
  EXPECT_TRUE(failed(evaluate(function, {floats({2}, 1.0), floats({4}, 1.0)})));
}

TEST_F(Evaluator, FailuresAreReportedAtTheOperation) {
  auto module = parse(R"(
    func.func @f(%a: tensor<2xf32>, %i: tensor<1xi64>) -> tensor<1xf32> {
      %0 = lm.gather %a, %i {axis = 0 : i64} : (tensor<2xf32>, tensor<1xi64>) -> tensor<1xf32> loc("node /pick")
      return %0 : tensor<1xf32>
    })");
  ASSERT_TRUE(module) << diagnostics;
  std::string where;
  ScopedDiagnosticHandler at(&context, [&](Diagnostic &diagnostic) {
    llvm::raw_string_ostream(where) << diagnostic.getLocation();
    return success();
  });
  EXPECT_TRUE(failed(evaluate(*module->getOps<func::FuncOp>().begin(), {floats({2}, {1, 2}), ints({1}, {5})})));
  EXPECT_NE(where.find("/pick"), std::string::npos) << where;
}

} // namespace
