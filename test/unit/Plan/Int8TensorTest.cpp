// Products of rows that share one scale and perhaps a zero point, as a plan forms them,
// against the evaluator on the same module. The inputs are what is quantized, so the
// integers are equal and only the rounding of f32 differs.
#include "Model.h"

#include <cmath>

using namespace llmopt;
using namespace llmopt::test;

namespace {

enum class Parameters { None, Constant, Computed };

struct Form {
  std::string element = "i8"; // of the input's integers
  bool narrow = false;
  Parameters zero = Parameters::None, scale = Parameters::Constant;
  std::string weight = "column"; // column, row (transposed), tensor, bytes (zero point 128), constant
  int64_t n = 24, k = 40;
};

std::string randomHex(std::mt19937 &random, int64_t count) {
  std::string text = "dense<\"0x";
  for (int64_t i = 0; i < 2 * count; ++i)
    text += "0123456789ABCDEF"[random() % 16];
  return text + "\">";
}

/// y = relu(linear(q(x), w) + b), and twice q(x), so that something else reads it.
std::string makeModel(const Form &f) {
  std::mt19937 random(7);
  const std::string k = std::to_string(f.k), n = std::to_string(f.n),
                    x = "tensor<?x" + k + "xf32, #lm.dims<\"rows\", " + k + ">>",
                    q = "tensor<?x" + k + "x" + f.element + ", #lm.dims<\"rows\", " + k + ">>",
                    y = "tensor<?x" + n + "xf32, #lm.dims<\"rows\", " + n + ">>", zero = "tensor<" + f.element + ">";
  std::string text =
      "func.func @main(%x: " + x +
      " {lm.name = \"x\"}, %s0: tensor<f32> {lm.name = \"s\"}, %z0: tensor<i64> {lm.name = \"z\"}) -> (" + y +
      " {lm.name = \"y\"}, " + x + " {lm.name = \"d\"}) {\n";
  text += f.scale == Parameters::Computed ? "%s = lm.abs %s0 : (tensor<f32>) -> tensor<f32>\n"
                                          : "%s = lm.constant dense<0.03125> : tensor<f32>\n";
  std::string withZero, zeroType;
  if (f.zero != Parameters::None) {
    text += f.zero == Parameters::Computed
                ? "%z = lm.cast %z0 : (tensor<i64>) -> " + zero + "\n"
                : "%z = lm.constant dense<" + std::string(f.element == "ui8" ? "131" : "-17") + "> : " + zero + "\n";
    withZero = " zero_point %z";
    zeroType = ", " + zero;
  }
  text += "%q = lm.quantize %x scale %s" + withZero + " {narrow_range = " + (f.narrow ? "true" : "false") + "} : (" +
          x + ", tensor<f32>" + zeroType + ") -> " + q + "\n%d = lm.dequantize %q scale %s" + withZero + " : (" + q +
          ", tensor<f32>" + zeroType + ") -> " + x + "\n";
  const bool transposed = f.weight == "row", bytes = f.weight == "bytes";
  const std::string matrix = transposed ? n + "x" + k : k + "x" + n, element = bytes ? "ui8" : "i8",
                    wq = "tensor<" + matrix + "x" + element + ">", w = "tensor<" + matrix + "xf32>",
                    ws = f.weight == "column" || f.weight == "constant" ? "tensor<1x" + n + "xf32>"
                         : transposed                                   ? "tensor<" + n + "x1xf32>"
                                                                        : "tensor<f32>";
  const std::string numbers = randomHex(random, f.n * f.k);
  text += f.weight == "constant" ? "%wq = lm.constant " + numbers + " : " + wq + "\n"
                                 : "%wq = lm.weight \"w\" from (" + numbers + " : " + wq + ") : " + wq + "\n";
  text += ws == "tensor<f32>"
              ? "%ws = lm.constant dense<0.0078125> : tensor<f32>\n"
              : "%ws = lm.weight \"ws\" from (" + denseFloats(random, f.n, 0.01f) + " : " + ws + ") : " + ws + "\n";
  text += bytes ? "%wz = lm.constant dense<128> : tensor<ui8>\n" : "%wz = lm.constant dense<0> : tensor<i8>\n";
  text += "%w = lm.dequantize %wq scale %ws zero_point %wz : (" + wq + ", " + ws + ", tensor<" + element + ">) -> " +
          w + "\n";
  text += weight(random, "b", {f.n}, 1);
  text += "%l = lm.linear %d, %w bias %b {transpose_weight = " + std::string(transposed ? "true" : "false") + "} : (" +
          x + ", " + w + ", tensor<" + n + "xf32>) -> " + y + "\n%y = lm.relu %l : (" + y + ") -> " + y +
          "\n%t = lm.add %d, %d : (" + x + ", " + x + ") -> " + x + "\nreturn %y, %t : " + y + ", " + x + "\n}";
  return text;
}

void check(const Form &form) {
  Model model(makeModel(form));
  ASSERT_TRUE(model.compile()) << model.errors;
  unsigned products = 0;
  model.getPlan().walk([&](kernel::GemmS8Op) { ++products; });
  EXPECT_EQ(products, 1u);
  auto &context = model.getContext();
  std::mt19937 random(11);
  for (int64_t rows : {1, 2, 19})
    for (uint32_t threads : {1u, 2u}) {
      SCOPED_TRACE(std::to_string(rows) + " rows");
      std::normal_distribution<double> normal(0, 2);
      std::vector<double> x(rows * form.k);
      for (double &value : x)
        value = normal(random);
      x[0] = 1e30; // beyond the range, on both sides
      x[1] = -1e30;
      x[2] = NAN; // has an integer, too
      x[3] = 2.5 * 0.03125;
      model.expectEqual(
          {floats(context, {rows, form.k}, x), floats(context, {}, {-0.03125}),
           cantFail(lm::Tensor::fromInts(mlir::IntegerType::get(&context, 64), {}, {form.element == "ui8" ? 250 : 3}))},
          1e-5, threads);
    }
}

TEST(Int8Tensor, Static) { check({"i8", true}); }
TEST(Int8Tensor, FullRange) { check({"i8"}); }
TEST(Int8Tensor, ZeroPoint) { check({"i8", false, Parameters::Constant}); }
TEST(Int8Tensor, Bytes) { check({"ui8", false, Parameters::Constant}); }
TEST(Int8Tensor, BytesWithoutZeroPoint) { check({"ui8"}); }
TEST(Int8Tensor, Dynamic) { check({"ui8", false, Parameters::Computed, Parameters::Computed}); }
TEST(Int8Tensor, DynamicSigned) { check({"i8", false, Parameters::Computed, Parameters::Computed, "row", 50, 70}); }

TEST(Int8Tensor, Weights) {
  for (const char *weight : {"row", "tensor", "bytes", "constant"}) {
    SCOPED_TRACE(weight);
    check({"ui8", false, Parameters::Constant, Parameters::Constant, weight, 33, 65});
  }
}

/// A norm whose rows are quantized with one scale, that others read as floats, too.
TEST(Int8Tensor, NormQuantizes) {
  for (bool zeroPoint : {false, true}) {
    SCOPED_TRACE(zeroPoint);
    std::mt19937 random(4);
    const std::string h = "tensor<?x96xf32, #lm.dims<\"rows\", 96>>", bytes = "tensor<?x96xi8, #lm.dims<\"rows\", 96>>";
    const std::string zero = zeroPoint ? " zero_point %z" : "", zeroType = zeroPoint ? ", tensor<i8>" : "";
    std::string text = "func.func @main(%a: " + h + " {lm.name = \"a\"}, %c: " + h + " {lm.name = \"c\"}) -> (" + h +
                       " {lm.name = \"y\"}, " + h + " {lm.name = \"sum\"}) {\n";
    text += weight(random, "g", {96}, 1) + "%sum = lm.add %a, %c : (" + h + ", " + h + ") -> " + h +
            "\n%n = lm.norm #lm.norm_kind<layer> %sum scale %g {epsilon = 1.0e-5 : f64} : (" + h +
            ", tensor<96xf32>) -> " + h + "\n%s = lm.constant dense<0.03125> : tensor<f32>\n";
    if (zeroPoint)
      text += "%z = lm.constant dense<5> : tensor<i8>\n";
    text += "%q = lm.quantize %n scale %s" + zero + (zeroPoint ? "" : " {narrow_range = true}") + " : (" + h +
            ", tensor<f32>" + zeroType + ") -> " + bytes + "\n%d = lm.dequantize %q scale %s" + zero + " : (" + bytes +
            ", tensor<f32>" + zeroType + ") -> " + h + "\n%wq = lm.weight \"w\" from (" + randomHex(random, 96 * 96) +
            " : tensor<96x96xi8>) : tensor<96x96xi8>\n%ws = lm.constant dense<0.0078125> : tensor<f32>\n"
            "%w = lm.dequantize %wq scale %ws : (tensor<96x96xi8>, tensor<f32>) -> tensor<96x96xf32>\n"
            "%p = lm.linear %d, %w : (" +
            h + ", tensor<96x96xf32>) -> " + h + "\n%y = lm.add %p, %n : (" + h + ", " + h + ") -> " + h +
            "\nreturn %y, %sum : " + h + ", " + h + "\n}\n";
    Model model(text);
    ASSERT_TRUE(model.compile()) << model.errors;
    unsigned fused = 0, others = 0;
    model.getPlan().walk([&](kernel::NormQuantizedTensorOp) { ++fused; });
    model.getPlan().walk([&](kernel::QuantizeTensorOp) { ++others; });
    EXPECT_EQ(fused, 1u);
    EXPECT_EQ(others, 0u);
    for (int64_t rows : {1, 2, 40})
      for (uint32_t threads : {1u, 2u})
        model.expectEqual({randomFloats(model.getContext(), random, {rows, 96}),
                           randomFloats(model.getContext(), random, {rows, 96})},
                          1e-4, threads);
  }
}

} // namespace
