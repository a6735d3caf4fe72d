// Random numbers that training needs: Philox, dropout, and weights that are drawn.
#include "llmopt/Dialect/LM/Eval/Evaluator.h"
#include "llmopt/Dialect/LM/IR/DrawnWeights.h"
#include "llmopt/Support/Philox.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

#include <cmath>

using namespace llmopt;
using namespace llmopt::lm;

namespace {

// Known answers of the authors' library (Random123, kat_vectors).
TEST(Philox, KnownAnswers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

class Drawn : public testing::Test {
protected:
  Drawn() : context(mlir::MLIRContext::Threading::DISABLED) {
    context.loadDialect<LMDialect, mlir::func::FuncDialect>();
  }

  std::vector<float> draw(DrawKind kind, double scale, uint64_t seed, llvm::StringRef name, uint64_t first, size_t n) {
    auto attr = DrawnAttr::get(&context, kind, mlir::Builder(&context).getF64FloatAttr(scale), seed);
    std::vector<float> values(n);
    drawElements(attr, name, first, values);
    return values;
  }

  /// What lm.dropout keeps of ones.
  std::vector<double> dropout(double p, int64_t seed, int64_t step, int64_t id, int64_t n) {
    std::string type = "tensor<" + std::to_string(n) + "xf32>";
    std::string text = "func.func @main(%x: " + type + ", %p: tensor<f32>, %s: tensor<i64>, %t: tensor<i64>) -> " +
                       type + " {\n%r = lm.dropout %x, %p, %s, %t {id = " + std::to_string(id) + " : i64} : (" + type +
                       ", tensor<f32>, tensor<i64>, tensor<i64>) -> " + type + "\nreturn %r : " + type + "\n}\n";
    auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    EXPECT_TRUE(module);
    mlir::Builder b(&context);
    auto scalar = [&](int64_t v) { return llvm::cantFail(Tensor::fromInts(b.getI64Type(), {}, {v})); };
    auto results = evaluate(module->lookupSymbol<mlir::func::FuncOp>("main"),
                            {llvm::cantFail(Tensor::fromFloats(b.getF32Type(), {n}, std::vector<double>(n, 1.0))),
                             llvm::cantFail(Tensor::fromFloats(b.getF32Type(), {}, {p})), scalar(seed), scalar(step)});
    EXPECT_TRUE(mlir::succeeded(results));
    auto values = (*results)[0].floats();
    return std::vector<double>(values.begin(), values.end());
  }

  static double correlation(const std::vector<double> &a, const std::vector<double> &b) {
    double ma = 0, mb = 0, ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < a.size(); ++i)
      ma += a[i] / a.size(), mb += b[i] / b.size();
    for (size_t i = 0; i < a.size(); ++i)
      ab += (a[i] - ma) * (b[i] - mb), aa += (a[i] - ma) * (a[i] - ma), bb += (b[i] - mb) * (b[i] - mb);
    return ab / std::sqrt(aa * bb);
  }

  mlir::MLIRContext context;
};

TEST_F(Drawn, DropoutRate) {
  constexpr int64_t n = 40000;
  for (double p : {0.0, 0.1, 0.5, 0.9}) {
    double kept = 0, sum = 0;
    for (double x : dropout(p, 1, 0, 0, n)) {
      kept += x != 0;
      sum += x;
      if (x != 0)
        EXPECT_FLOAT_EQ(static_cast<float>(x), 1 / (1 - static_cast<float>(p)));
    }
    // Four standard deviations.
    EXPECT_NEAR(kept / n, 1 - p, 4 * std::sqrt(p * (1 - p) / n) + 1e-12);
    EXPECT_NEAR(sum / n, 1, 4 * std::sqrt(p / (1 - p) / n) + 1e-6);
  }
  for (double x : dropout(1, 1, 0, 0, 100))
    EXPECT_EQ(x, 0);
}

TEST_F(Drawn, DropoutMasksAreIndependent) {
  constexpr int64_t n = 40000;
  std::vector<double> one = dropout(0.5, 1, 0, 0, n);
  EXPECT_EQ(one, dropout(0.5, 1, 0, 0, n));
  // Another place, step or seed, and the neighbours of each element: four deviations.
  std::vector<double> next(one.begin() + 1, one.end());
  next.push_back(one.front());
  for (const std::vector<double> &other : {dropout(0.5, 1, 0, 1, n), dropout(0.5, 1, 1, 0, n), dropout(0.5, 2, 0, 0, n),
                                           dropout(0.5, int64_t(1) << 32 | 1, 0, 0, n), next})
    EXPECT_LT(std::abs(correlation(one, other)), 4 / std::sqrt(n));
  // The first elements do not depend on how many there are.
  std::vector<double> few = dropout(0.5, 1, 0, 0, 101);
  EXPECT_TRUE(std::equal(few.begin(), few.end(), one.begin()));
}

TEST_F(Drawn, WeightsHaveTheirDistribution) {
  constexpr size_t n = 100000;
  auto moments = [](const std::vector<float> &values) {
    std::array<double, 4> m{};
    for (double x : values)
      for (int k = 0; k < 4; ++k)
        m[k] += std::pow(x, k + 1) / values.size();
    return m;
  };
  auto m = moments(draw(DrawKind::Normal, 2, 3, "w", 0, n));
  EXPECT_NEAR(m[0], 0, 4 * 2 / std::sqrt(n));
  EXPECT_NEAR(m[1], 4, 4 * 4 * std::sqrt(2.0 / n));
  EXPECT_NEAR(m[3] / (m[1] * m[1]), 3, 0.1); // no bounded sum of uniform numbers
  m = moments(draw(DrawKind::Uniform, 0.5, 3, "w", 0, n));
  EXPECT_NEAR(m[0], 0, 4 * 0.29 / std::sqrt(n));
  EXPECT_NEAR(m[1], 0.25 / 3, 1e-3);
  for (float x : draw(DrawKind::Uniform, 0.5, 3, "w", 0, n))
    ASSERT_LE(std::abs(x), 0.5);
  for (float x : draw(DrawKind::Zeros, 0, 3, "w", 0, 10))
    EXPECT_EQ(x, 0);
}

// The bytes of files that are out there: these must never change.
TEST_F(Drawn, WeightsAreAFunctionOfNameSeedAndPosition) {
  std::vector<float> all = draw(DrawKind::Normal, 1, 3, "classifier.weight", 0, 64);
  std::vector<float> part = draw(DrawKind::Normal, 1, 3, "classifier.weight", 13, 20);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + 13));
  EXPECT_NE(all, draw(DrawKind::Normal, 1, 4, "classifier.weight", 0, 64));
  EXPECT_NE(all, draw(DrawKind::Normal, 1, 3, "classifier.bias", 0, 64));
  std::vector<float> uniform = draw(DrawKind::Uniform, 1, 0, "", 0, 2);
  // FNV-1a of "" is 0xcbf29ce484222325: words of philox {0, 0, 0x84222325, 0xcbf29ce4}, key 0.
  auto words = philox({0, 0, 0x84222325, 0xcbf29ce4}, {0, 0});
  for (int i : {0, 1})
    EXPECT_EQ(uniform[i], static_cast<float>(2 * ((words[i] + 0.5) / 4294967296.0) - 1));
}

// The quantile function against its definition, by the error function.
TEST_F(Drawn, NormalQuantileIsAccurate) {
  std::vector<float> uniform = draw(DrawKind::Uniform, 1, 9, "w", 0, 20000);
  std::vector<float> normal = draw(DrawKind::Normal, 1, 9, "w", 0, 20000);
  for (size_t i = 0; i < normal.size(); ++i) {
    double p = (uniform[i] + 1) / 2, back = 0.5 * std::erfc(-normal[i] * M_SQRT1_2);
    ASSERT_NEAR(back, p, 1e-7);
  }
}

} // namespace
