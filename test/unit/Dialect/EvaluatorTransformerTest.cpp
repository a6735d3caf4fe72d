// The evaluator's transformer and quantization operations. Numbers come from
// numpy, by the formulas in the descriptions of the operations.
#include "EvalFixture.h"

using namespace mlir;
using namespace llmopt::lm;

namespace {

struct Transformer : EvalFixture {
  // B 2, Sq 2, Sk 3, two heads of width 2.
  Tensor query = floats({2, 2, 4}, {-2, -1, 0, 1, 2, -2, -1, 0, 1, 2, -2, -1, 0, 1, 2, -2});
  Tensor key = floats({2, 3, 4}, {-3, 0, 3, -1, 2, -2, 1, -3, 0, 3, -1, 2, -2, 1, -3, 0, 3, -1, 2, -2, 1, -3, 0, 3});
  Tensor value = floats({2, 3, 4}, {-5, 0, 5, -1, 4, -2, 3, -3, 2, -4, 1, -5, 0, 5, -1, 4, -2, 3, -3, 2, -4, 1, -5, 0});
  const double nan = NAN, inf = INFINITY;

  Tensor attend(const std::string &attrs, const Tensor &mask = {}) {
    SmallVector<Tensor> inputs = {query, key, value};
    std::string types = "tensor<2x2x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>", mnemonic = "lm.attention %0, %1, %2";
    if (mask) {
      inputs.push_back(mask);
      llvm::raw_string_ostream(types) << ", " << mask.getType();
      mnemonic += " mask %3";
    }
    return eval(mnemonic + " {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, " + attrs + "} : (" +
                    types + ") -> tensor<2x2x4xf32>",
                inputs, "tensor<2x2x4xf32>");
  }
};

TEST_F(Transformer, Norm) {
  Tensor x = floats({2, 4}, {1, 2, 3, 6, -1, 0, 1, 0}), s = floats({4}, {1, 2, 0.5, 1}), b = floats({4}, {0, 1, 0, -1});
  std::string types = "tensor<2x4xf32>, tensor<4xf32>";
  expectFloats(eval("lm.norm <layer> %0 scale %1 bias %2 {epsilon = 0.001 : f64} : (" + types +
                        ", tensor<4xf32>) -> tensor<2x4xf32>",
                    {x, s, b}, "tensor<2x4xf32>"),
               {-1.0688922797, -0.0688922797, 0.0, 0.6033384195, -1.4128014666, 1.0, 0.7064007333, -1.0}, 1e-7);
  expectFloats(eval("lm.norm <rms> %0 scale %1 {epsilon = 0.001 : f64} : (" + types + ") -> tensor<2x4xf32>", {x, s},
                    "tensor<2x4xf32>"),
               {0.2828313994, 1.1313255978, 0.4242470992, 1.6969883967, -1.4128014666, 0.0, 0.7064007333, 0.0}, 1e-7);
}

TEST_F(Transformer, Gelu) {
  Tensor x = floats({4}, {-3, -0.5, 0, 2});
  std::string type = "tensor<4xf32>";
  expectFloats(eval("lm.gelu <erf> %0", {x}, type), {-0.0040496941, -0.1542687694, 0.0, 1.9544997361}, 1e-7);
  expectFloats(eval("lm.gelu <tanh> %0", {x}, type), {-0.0036373921, -0.1542859902, 0.0, 1.9545976941}, 1e-7);
  expectFloats(eval("lm.gelu <quick> %0", {x}, type), {-0.0180713097, -0.1496115634, 0.0, 1.9356586231}, 1e-7);
}

TEST_F(Transformer, AttentionWithoutMask) {
  expectFloats(attend("mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<nan>"),
               {-4.7643307558, -0.0787500718, 1.8095911473, -4.1904088527, 3.9899875587, -2.0, 1.8495792348,
                -4.1504207652, -1.3277333426, 3.6722666574, -1.0787500718, 3.9212499282, -0.8495792348, 4.1504207652,
                -3.0, 2.0},
               1e-7);
}

TEST_F(Transformer, CausalAttention) {
  expectFloats(attend("mask_kind = #lm.mask_kind<none>, causal = true, fully_masked = #lm.fully_masked<nan>"),
               {-4.8381241103, -0.0359724199, 4.4621171573, -1.5378828427, 3.9899875587, -2.0, 1.8495792348,
                -4.1504207652, -1.2449186624, 3.7550813376, -1.0359724199, 3.9640275801, -0.8495792348, 4.1504207652,
                -3.0, 2.0},
               1e-7);
}

TEST_F(Transformer, KeyLengthsAndFullyMaskedRows) {
  Tensor lengths = ints({2}, {2, 0});
  SmallVector<double> visible = {-4.8381241103, -0.0359724199, 4.4621171573, -1.5378828427,
                                 3.9918005393,  -1.9981778976, 3.5378828427, -2.4621171573};
  auto check = [&](const char *kind, ArrayRef<double> hidden) {
    SmallVector<double> expected(visible);
    expected.append(hidden.begin(), hidden.end());
    expectFloats(
        attend(std::string("mask_kind = #lm.mask_kind<key_lengths>, fully_masked = #lm.fully_masked<") + kind + ">",
               lengths),
        expected, 1e-7);
  };
  check("nan", {nan, nan, nan, nan, nan, nan, nan, nan});
  check("zero", {0, 0, 0, 0, 0, 0, 0, 0});
  check("source", {-2, 3, -3, 2, -2, 3, -3, 2});
}

TEST_F(Transformer, AdditiveAttention) {
  expectFloats(attend("mask_kind = #lm.mask_kind<additive>, fully_masked = #lm.fully_masked<source>",
                      floats({1, 1, 1, 3}, {0, -1.5, -10000})),
               {-4.9633687606, -0.0081402754, 4.84828364, -1.15171636, 3.9633687606, -1.9918597246, 4.2449186624,
                -1.7550813376, -0.5378828427, 4.4621171573, -1.0081402754, 3.9918597246, -0.15171636, 4.84828364,
                -2.9918597246, 2.0081402754},
               1e-6);
  // Finite fill values that swallow the scores: all keys alike, as in f32.
  expectFloats(attend("mask_kind = #lm.mask_kind<additive>, fully_masked = #lm.fully_masked<source>",
                      floats({2, 1, 1, 3}, {-3.4028234663852886e38, -3.4028234663852886e38, -3.4028234663852886e38,
                                            -1e9, -1e9, -1e9})),
               {1.0 / 3, -2, 3, -3, 1.0 / 3, -2, 3, -3, -2, 3, -3, 2, -2, 3, -3, 2}, 1e-6);
  Tensor infinite = floats({1, 1, 1, 3}, {-inf, -inf, -inf});
  SmallVector<double> nans(16, nan), zeros(16, 0.0);
  for (const char *kind : {"nan", "source"})
    expectFloats(
        attend(std::string("mask_kind = #lm.mask_kind<additive>, fully_masked = #lm.fully_masked<") + kind + ">",
               infinite),
        nans);
  expectFloats(attend("mask_kind = #lm.mask_kind<additive>, fully_masked = #lm.fully_masked<zero>", infinite), zeros);
}

TEST_F(Transformer, BooleanAttention) {
  expectFloats(attend("mask_kind = #lm.mask_kind<boolean>, fully_masked = #lm.fully_masked<nan>",
                      ints(i1, {1, 1, 2, 3}, {1, 0, 1, 0, 1, 1})),
               {-4.9230914016, -0.0439477705, 1.7297020952, -4.2702979048, 3.9981778976, -2.0018221024, 1.5378828427,
                -4.4621171573, -0.3034327201, 4.6965672799, -1.0439477705, 3.9560522295, -2.5378828427, 2.4621171573,
                -3.0018221024, 1.9981778976},
               1e-7);
}

TEST_F(Transformer, GroupedAttention) {
  // Both query heads share one key head of width 2 and one value head of width 3.
  key = floats({2, 3, 2}, {-3, 0, 2, -2, 0, 3, -2, 1, 3, -1, 1, -3});
  value = floats({2, 3, 3}, {-5, 0, 5, 4, -2, 3, 2, -4, 1, 0, 5, -1, -2, 3, -3, -4, 1, -5});
  Tensor result = eval("lm.attention %0, %1, %2 {num_heads = 2 : i64, kv_num_heads = 1 : i64, scale = 0.5 : f64, "
                       "mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<nan>}",
                       {query, key, value}, "tensor<2x2x6xf32>");
  expectFloats(result, {-4.7643307558, -0.0787500718, 4.9212499282,  0.9291105651,  -3.1904088527, 1.8095911473,
                        3.9899875587,  -2.0,          3.0,           -3.2373204194, -0.8095911473, 4.1904088527,
                        -1.3277333426, 3.6722666574,  -2.3277333426, -1.087977489,  3.912022511,   -2.087977489,
                        -0.8495792348, 4.1504207652,  -1.8495792348, -2.9986328004, 2.0013671996,  -3.9986328004},
               1e-7);
}

TEST_F(Transformer, NeighbouringQueryHeadsShareAKeyHead) {
  Tensor q = floats({1, 1, 4}, {1, -1, 2, 0.5}), k = floats({1, 2, 2}, {1, -2, 0.5, 1});
  Tensor v = floats({1, 2, 2}, {1, 10, 3, -20});
  expectFloats(eval("lm.attention %0, %1, %2 {num_heads = 4 : i64, kv_num_heads = 2 : i64, scale = 1.0 : f64, "
                    "mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<nan>}",
                    {q, k, v}, "tensor<1x1x4xf32>"),
               {1.7550813376, 2.2449186624, -19.9258213053, -14.5272342858}, 1e-7);
}

TEST_F(Transformer, EmbeddingGradient) {
  expectFloats(
      eval("lm.embedding_grad %0, %1", {ints({3}, {1, -1, 1}), floats({3, 2}, {1, 2, 3, 4, 5, 6})}, "tensor<3x2xf32>"),
      {0, 0, 6, 8, 3, 4});
}

TEST_F(Transformer, Quantization) {
  Tensor x = floats({2, 3}, {1, -2, 0.5, 0, 0, 0});
  expectFloats(eval("lm.absmax_scale %0 {axes = array<i64: 1>, qmax = 127.0 : f64}", {x}, "tensor<2x1xf32>"),
               {0.0157480315, 1}, 1e-7);
  expectFloats(eval("lm.absmax_scale %0 {axes = array<i64: 0>, qmax = 1.0 : f64}", {x}, "tensor<1x3xf32>"),
               {1, 2, 0.5});
  Tensor y = floats({6}, {0.5, 1.5, -2.5, 1000, -1000, nan}), one = floats({}, {1});
  std::string types = " : (tensor<6xf32>, tensor<f32>) -> tensor<6xi8>";
  expectInts(eval("lm.quantize %0 scale %1" + types, {y, one}, "tensor<6xi8>"), {0, 2, -2, 127, -128, -128});
  expectInts(eval("lm.quantize %0 scale %1 {narrow_range = true}" + types, {y, one}, "tensor<6xi8>"),
             {0, 2, -2, 127, -127, -127});
  expectInts(eval("lm.quantize %0 scale %1 zero_point %2 : (tensor<6xf32>, tensor<f32>, tensor<ui8>) -> tensor<6xui8>",
                  {y, one, ints(u8, {}, {128})}, "tensor<6xui8>"),
             {128, 130, 126, 255, 0, 0});
  // The quotient is an f32: 0.35f / 0.1f is 3.5 there, and rounds to 4.
  expectInts(eval("lm.quantize %0 scale %1 : (tensor<1xf32>, tensor<f32>) -> tensor<1xi8>",
                  {floats({1}, {0.35}), floats({}, {0.1})}, "tensor<1xi8>"),
             {4});
  expectFloats(eval("lm.dequantize %0 scale %1 zero_point %2 : (tensor<2x2xui8>, tensor<2x1xf32>, tensor<ui8>) -> "
                    "tensor<2x2xf32>",
                    {ints(u8, {2, 2}, {0, 255, 1, 2}), floats({2, 1}, {0.5, 2}), ints(u8, {}, {1})}, "tensor<2x2xf32>"),
               {-0.5, 127, 0, 2});
}

} // namespace
