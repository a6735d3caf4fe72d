// Operators whose widths are symbols: they compute what they do with numbers, and what
// they assume of sizes is noted, for the moment when shapes are bound.
#include "ModelBuilder.h"

#include "llmopt/Dialect/LM/Eval/Evaluator.h"

#include "mlir/IR/MLIRContext.h"

#include <random>

using namespace llmopt;
using namespace llmopt::testing;
using lm::Tensor;

namespace {

class SymbolicTest : public ::testing::Test {
protected:
  Imported import(const ModelBuilder &b, bool symbolic, const ONNXImportOptions &more = {}) {
    ONNXImportOptions options = more;
    options.forgetStaticDims = symbolic;
    return importFile(context, dir.write("m.onnx", b.bytes()), options);
  }
  /// Random inputs for the shapes that the model declares, and its first output.
  std::optional<Tensor> run(const ModelBuilder &b, bool symbolic, const std::vector<std::vector<int64_t>> &shapes) {
    Imported result = import(b, symbolic);
    EXPECT_TRUE(result.module) << result.text();
    if (!result.module)
      return std::nullopt;
    std::mt19937 random(3);
    std::normal_distribution<double> normal;
    std::vector<Tensor> inputs;
    for (const std::vector<int64_t> &shape : shapes) {
      int64_t count = 1;
      for (int64_t size : shape)
        count *= size;
      std::vector<double> values;
      for (int64_t i = 0; i < count; ++i)
        values.push_back(static_cast<float>(normal(random)));
      inputs.push_back(llvm::cantFail(Tensor::fromFloats(mlir::Float32Type::get(&context), shape, values)));
    }
    mlir::ScopedDiagnosticHandler quiet(&context, [](mlir::Diagnostic &) { return mlir::success(); });
    auto outputs = lm::evaluate((*result.module).lookupSymbol<mlir::func::FuncOp>("main"), inputs);
    return mlir::failed(outputs) ? std::nullopt : std::optional<Tensor>(outputs->front());
  }
  void expectSame(const ModelBuilder &b, const std::vector<std::vector<int64_t>> &shapes) {
    std::optional<Tensor> known = run(b, false, shapes), symbolic = run(b, true, shapes);
    ASSERT_TRUE(known && symbolic);
    ASSERT_EQ(known->getDims(), symbolic->getDims());
    for (size_t i = 0; i < known->floats().size(); ++i)
      EXPECT_NEAR(known->floats()[i], symbolic->floats()[i], 1e-5) << i;
  }
  void expectNoted(const ModelBuilder &b, const std::string &text) {
    Imported result = import(b, true);
    ASSERT_TRUE(result.module) << result.text();
    EXPECT_NE(result.ir().find(text), std::string::npos) << text << " in " << result.ir();
  }

  TempDir dir;
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
};

ModelBuilder attention(const std::string &queryHeads, const std::string &heads) {
  ModelBuilder b(23);
  b.input("q", {"2", queryHeads, "3", "8"}).input("k", {"2", heads, "5", "8"}).input("v", {"2", heads, "5", "6"});
  b.output("y").node("Attention", {"q", "k", "v"}, {"y"});
  return b;
}

TEST_F(SymbolicTest, AttentionOfHeadsInGroups) {
  ModelBuilder grouped = attention("6", "2");
  expectSame(grouped, {{2, 6, 3, 8}, {2, 2, 5, 8}, {2, 2, 5, 6}});
  expectNoted(grouped, "q_dim1 <= floordiv(q_dim1, k_dim1)*k_dim1");
}

TEST_F(SymbolicTest, NumbersStayOneOperation) {
  std::string ir = import(attention("6", "2"), false).ir();
  EXPECT_NE(ir.find("lm.attention"), std::string::npos) << ir;
}

TEST_F(SymbolicTest, HeadsThatDoNotGroup) {
  // As numbers an error of the importer, as symbols one where shapes are known.
  EXPECT_FALSE(import(attention("5", "2"), false).module);
  EXPECT_FALSE(run(attention("5", "2"), true, {{2, 5, 3, 8}, {2, 2, 5, 8}, {2, 2, 5, 6}}));
}

TEST_F(SymbolicTest, AttentionOverTokens) {
  for (bool causal : {false, true}) {
    ModelBuilder b(23);
    b.input("q", {"2", "5", "24"}).input("k", {"2", "5", "12"}).input("v", {"2", "5", "6"}).output("y");
    auto &node = b.node("Attention", {"q", "k", "v"}, {"y"});
    setInt(node, "q_num_heads", 6);
    setInt(node, "kv_num_heads", 3);
    setInt(node, "is_causal", causal);
    expectSame(b, {{2, 5, 24}, {2, 5, 12}, {2, 5, 6}});
    expectNoted(b, "q_dim2 <= 6*floordiv(q_dim2, 6)");
  }
}

TEST_F(SymbolicTest, MasksShorterThanTheKeys) {
  for (const std::string &width : {"5", "3"}) {
    ModelBuilder b = attention("2", "2");
    b.input("m", {"3", width});
    b.model.mutable_graph()->mutable_node(0)->add_input("m");
    expectSame(b, {{2, 2, 3, 8}, {2, 2, 5, 8}, {2, 2, 5, 6}, {3, std::stoll(width)}});
  }
}

TEST_F(SymbolicTest, KernelsAndGroups) {
  ModelBuilder conv(22);
  conv.input("x", {"2", "4", "7", "9"}).input("w", {"6", "2", "3", "2"}).output("y");
  auto &node = conv.node("Conv", {"x", "w"}, {"y"});
  setInt(node, "group", 2);
  setInts(node, "pads", {1, 0, 2, 1});
  setInts(node, "strides", {2, 1});
  expectSame(conv, {{2, 4, 7, 9}, {6, 2, 3, 2}});

  ModelBuilder back(22); // pads beyond what the kernel reaches cut
  back.input("x", {"2", "4", "3", "4"}).input("w", {"4", "3", "2", "3"}).output("y");
  auto &transposed = back.node("ConvTranspose", {"x", "w"}, {"y"});
  setInt(transposed, "group", 2);
  setInts(transposed, "pads", {2, 0, 1, 1});
  setInts(transposed, "strides", {2, 3});
  expectSame(back, {{2, 4, 3, 4}, {4, 3, 2, 3}});
}

TEST_F(SymbolicTest, WhatIsDividedIsNoted) {
  ModelBuilder b;
  b.input("x", {"1", "8", "2", "4"}).output("y");
  setInt(b.node("DepthToSpace", {"x"}, {"y"}), "blocksize", 2);
  expectSame(b, {{1, 8, 2, 4}});
  expectNoted(b, "x_dim1 <= 4*floordiv(x_dim1, 4)");
  EXPECT_FALSE(run(b, true, {{1, 6, 2, 4}}));
}

TEST_F(SymbolicTest, KeptDimensions) {
  ModelBuilder b;
  b.input("x", {"2", "3", "4"}).output("y").node("Relu", {"x"}, {"y"});
  ONNXImportOptions options;
  options.keptDims["x"] = {0, -1};
  std::string ir = import(b, true, options).ir();
  EXPECT_NE(ir.find("#lm.dims<2, \"x_dim1\", 4>"), std::string::npos) << ir;
}

} // namespace
