// Products of e4m3 on an emulated GPU, and everything that is quantized for one, against the
// evaluator.
#include "Model.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::test;

namespace {

std::string type(std::initializer_list<int64_t> dims, const char *element) {
  std::string text = "tensor<";
  for (int64_t dim : dims)
    text += std::to_string(dim) + "x";
  return text + element + ">";
}

/// %out = dequantize(quantize(%in, absmax / 448)), one scale for each index but `axis`.
std::string roundTrip(const std::string &in, const std::string &out, const std::string &whole, const std::string &q,
                      const std::string &scale, int axis) {
  return "%" + out + "s = lm.absmax_scale %" + in + " {axes = array<i64: " + std::to_string(axis) +
         ">, qmax = 448.0 : f64} : (" + whole + ") -> " + scale + "\n%" + out + "q = lm.quantize %" + in + " scale %" +
         out + "s : (" + whole + ", " + scale + ") -> " + q + "\n%" + out + " = lm.dequantize %" + out + "q scale %" +
         out + "s : (" + q + ", " + scale + ") -> " + whole + "\n";
}

TEST(Float8, Products) {
  // Few rows and tiles; rows of whole chunks, and not.
  for (auto [m, k] : std::vector<std::pair<int64_t, int64_t>>{{1, 48}, {3, 40}, {70, 48}, {5, 40}}) {
    const int64_t n = 37;
    std::mt19937 random(5);
    const std::string y = type({m, n}, "f32"), w = type({n, k}, "f32");
    Model model("func.func @main(%x: " + type({m, k}, "f32") + " {lm.name = \"x\"}) -> (" + y +
                " {lm.name = \"y\"}) {\n" + weight(random, "w", {n, k}, 0.3f) + weight(random, "b", {n}, 1.0f) +
                roundTrip("x", "xr", type({m, k}, "f32"), type({m, k}, "f8E4M3FN"), type({m, 1}, "f32"), 1) +
                roundTrip("w", "wr", w, type({n, k}, "f8E4M3FN"), type({n, 1}, "f32"), 1) +
                "%y = lm.linear %xr, %wr bias %b {transpose_weight = true} : (" + type({m, k}, "f32") + ", " + w +
                ", " + type({n}, "f32") + ") -> " + y + "\n%z = lm.relu %y : (" + y + ") -> " + y +
                "\nreturn %z : " + y + "\n}\n");
    model.emulatesCuda = true;
    ASSERT_TRUE(model.compile()) << model.errors;
    int64_t products = 0;
    model.getPlan().walk([&](kernel::GemmF8Op) { ++products; });
    EXPECT_EQ(products, 1);
    // Sums of exact products, in another order than the evaluator's, which are of f64.
    model.expectEqual({randomFloats(model.getContext(), random, {m, k})}, 2e-6);
  }
}

/// The same numbers where no kernel multiplies them: recipes and loops.
TEST(Float8, WithoutKernels) {
  const int64_t m = 3, k = 48, n = 37;
  std::mt19937 random(5);
  const std::string y = type({m, n}, "f32"), w = type({k, n}, "f32");
  Model model("func.func @main(%x: " + type({m, k}, "f32") + " {lm.name = \"x\"}) -> (" + y +
              " {lm.name = \"y\"}) {\n" + weight(random, "w", {k, n}, 0.3f) +
              roundTrip("x", "xr", type({m, k}, "f32"), type({m, k}, "f8E4M3FN"), type({m, 1}, "f32"), 1) +
              roundTrip("w", "wr", w, type({k, n}, "f8E4M3FN"), type({1, n}, "f32"), 0) +
              "%y = lm.linear %xr, %wr : (" + type({m, k}, "f32") + ", " + w + ") -> " + y + "\nreturn %y : " + y +
              "\n}\n");
  ASSERT_TRUE(model.compile()) << model.errors;
  model.expectEqual({randomFloats(model.getContext(), random, {m, k})}, 2e-6);
}

} // namespace
