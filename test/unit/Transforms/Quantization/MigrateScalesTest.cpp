// Moving scales from an activation into weights leaves the outputs as they are.
#include "llmopt/Transforms/Quantization/MigrateScales.h"

#include "llmopt/Dialect/LM/Eval/Evaluator.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace mlir;
using namespace llmopt;

namespace {

class MigrateScales : public ::testing::Test {
protected:
  MigrateScales() { context.loadDialect<lm::LMDialect, func::FuncDialect>(); }

  /// Scales of the input of the linear layers that read what the last of them reads.
  void check(llvm::StringRef text, bool expected) {
    OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, &context);
    ASSERT_TRUE(module);
    auto function = *module->getOps<func::FuncOp>().begin();
    SmallVector<lm::LinearOp> consumers;
    function.walk([&](lm::LinearOp linear) { consumers.push_back(linear); });
    Value x = consumers.back().getInput();
    llvm::erase_if(consumers, [&](lm::LinearOp linear) { return linear.getInput() != x; });
    ASSERT_EQ(canMigrateScales(x, consumers), expected);
    if (!expected)
      return;
    int64_t width = cast<RankedTensorType>(x.getType()).getShape().back();
    SmallVector<float> scales;
    for (int64_t i = 0; i < width; ++i)
      scales.push_back(0.25f * (1 << i % 5));
    std::vector<double> before = run(function);
    migrateScales(x, consumers, scales);
    std::vector<double> after = run(function);
    for (size_t i = 0; i < before.size(); ++i)
      EXPECT_NEAR(after[i], before[i], 1e-5 * (1 + std::fabs(before[i])));
  }

  std::vector<double> run(func::FuncOp function) {
    std::vector<double> values(24);
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = std::sin(1.0 + 3 * i);
    auto input = llvm::cantFail(lm::Tensor::fromFloats(Float32Type::get(&context), {1, 3, 8}, values));
    FailureOr<SmallVector<lm::Tensor>> outputs = lm::evaluate(function, {input});
    EXPECT_TRUE(succeeded(outputs));
    std::vector<double> all;
    for (const lm::Tensor &output : *outputs)
      all.insert(all.end(), output.floats().begin(), output.floats().end());
    return all;
  }

  MLIRContext context;
};

#define WEIGHTS                                                                                                        \
  "%w = lm.weight \"w\" from(dense<[[0.5], [-1.0], [0.25], [2.0], [1.5], [-0.75], [0.1], [0.9]]> : "                   \
  "tensor<8x1xf32>) : tensor<8x1xf32>\n"                                                                               \
  "%m = lm.broadcast %w : (tensor<8x1xf32>) -> tensor<8x8xf32>\n"                                                      \
  "%v = lm.weight \"v\" from(dense<[0.5, 2.0, -1.0, 1.0, 0.75, 3.0, -0.5, 1.25]> : tensor<8xf32>) : tensor<8xf32>\n"

TEST_F(MigrateScales, IntoANorm) {
  check("func.func @main(%x: tensor<1x3x8xf32>) -> tensor<1x3x1xf32> {\n" WEIGHTS
        "%n = lm.norm <layer> %x scale %v bias %v {epsilon = 1.0e-5 : f64} : (tensor<1x3x8xf32>, tensor<8xf32>, "
        "tensor<8xf32>) -> tensor<1x3x8xf32>\n"
        "%y = lm.linear %n, %w : (tensor<1x3x8xf32>, tensor<8x1xf32>) -> tensor<1x3x1xf32>\n"
        "return %y : tensor<1x3x1xf32> }",
        true);
}

TEST_F(MigrateScales, NotWhereTheResidualReadsTheNorm) {
  check("func.func @main(%x: tensor<1x3x8xf32>) -> (tensor<1x3x1xf32>, tensor<1x3x8xf32>) {\n" WEIGHTS
        "%n = lm.norm <layer> %x scale %v bias %v {epsilon = 1.0e-5 : f64} : (tensor<1x3x8xf32>, tensor<8xf32>, "
        "tensor<8xf32>) -> tensor<1x3x8xf32>\n"
        "%y = lm.linear %n, %w : (tensor<1x3x8xf32>, tensor<8x1xf32>) -> tensor<1x3x1xf32>\n"
        "return %y, %n : tensor<1x3x1xf32>, tensor<1x3x8xf32> }",
        false);
}

constexpr const char *kAttention =
    "%q = lm.weight \"q\" from(dense<0.125> : tensor<8x8xf32>) : tensor<8x8xf32>\n"
    "%u = lm.weight \"u\" from(dense<[[0.5, -1.0, 0.25, 2.0, 1.5, -0.75, 0.1, 0.9], [1.0, 0.2, 0.3, -0.4, 0.5, 0.6, "
    "0.7, "
    "0.8], [0.5, -1.0, 0.25, 2.0, 1.5, -0.75, 0.1, 0.9], [0.1, 0.2, 0.3, -0.4, 0.5, 0.6, 0.7, 0.8], [0.5, -1.0, 0.25, "
    "2.0, 1.5, -0.75, 0.1, 0.9], [0.1, 0.2, 0.3, -0.4, 0.5, 0.6, 0.7, 0.8], [0.5, -1.0, 0.25, 2.0, 1.5, -0.75, 0.1, "
    "0.9], [0.1, 0.2, 0.3, -0.4, 0.5, 0.6, 0.7, 0.8]]> : tensor<8x8xf32>) : tensor<8x8xf32>\n";

TEST_F(MigrateScales, ThroughAttentionIntoTheValueProjection) {
  check(std::string("func.func @main(%x: tensor<1x3x8xf32>) -> tensor<1x3x1xf32> {\n" WEIGHTS) + kAttention +
            "%key = lm.linear %x, %q : (tensor<1x3x8xf32>, tensor<8x8xf32>) -> tensor<1x3x8xf32>\n"
            "%value = lm.linear %x, %u bias %v {transpose_weight = true} : (tensor<1x3x8xf32>, tensor<8x8xf32>, "
            "tensor<8xf32>) -> tensor<1x3x8xf32>\n"
            "%a = lm.attention %x, %key, %value {num_heads = 2 : i64, kv_num_heads = 2 : i64, scale = 0.5 : f64, "
            "mask_kind = #lm.mask_kind<none>, fully_masked = #lm.fully_masked<nan>} : (tensor<1x3x8xf32>, "
            "tensor<1x3x8xf32>, tensor<1x3x8xf32>) -> tensor<1x3x8xf32>\n"
            "%y = lm.linear %a, %w : (tensor<1x3x8xf32>, tensor<8x1xf32>) -> tensor<1x3x1xf32>\n"
            "return %y : tensor<1x3x1xf32> }",
        true);
}

TEST_F(MigrateScales, IntoTheUpProjectionOfAGatedMLP) {
  check(std::string("func.func @main(%x: tensor<1x3x8xf32>) -> tensor<1x3x1xf32> {\n" WEIGHTS) + kAttention +
            "%gate = lm.sigmoid %x : (tensor<1x3x8xf32>) -> tensor<1x3x8xf32>\n"
            "%up = lm.linear %x, %u : (tensor<1x3x8xf32>, tensor<8x8xf32>) -> tensor<1x3x8xf32>\n"
            "%p = lm.mul %gate, %up : (tensor<1x3x8xf32>, tensor<1x3x8xf32>) -> tensor<1x3x8xf32>\n"
            "%y = lm.linear %p, %w : (tensor<1x3x8xf32>, tensor<8x1xf32>) -> tensor<1x3x1xf32>\n"
            "return %y : tensor<1x3x1xf32> }",
        true);
}

TEST_F(MigrateScales, NotThroughAGelu) {
  check(std::string("func.func @main(%x: tensor<1x3x8xf32>) -> tensor<1x3x1xf32> {\n" WEIGHTS) + kAttention +
            "%up = lm.linear %x, %u : (tensor<1x3x8xf32>, tensor<8x8xf32>) -> tensor<1x3x8xf32>\n"
            "%p = lm.gelu <erf> %up : (tensor<1x3x8xf32>) -> tensor<1x3x8xf32>\n"
            "%y = lm.linear %p, %w : (tensor<1x3x8xf32>, tensor<8x1xf32>) -> tensor<1x3x1xf32>\n"
            "return %y : tensor<1x3x1xf32> }",
        false);
}

} // namespace
