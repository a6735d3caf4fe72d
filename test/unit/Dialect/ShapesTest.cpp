// Broadcasts of symbolic shapes, pinning and re-inference.
#include "EvalFixture.h"

#include "llmopt/Transforms/Shapes/Passes.h"

#include "mlir/IR/Verifier.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

struct Shapes : EvalFixture {
  static SmallVector<SymExpr> dims(ArrayRef<const char *> texts) {
    return llvm::map_to_vector(texts, [](const char *text) { return *SymExpr::parse(text); });
  }
  static std::string text(ArrayRef<SymExpr> exprs) {
    std::string result;
    for (const SymExpr &expr : exprs)
      result += (result.empty() ? "" : ", ") + expr.str();
    return result;
  }
  const char *model = R"(
    func.func @f(%ids: tensor<?x?xi64, #lm.dims<"b", "s">> {lm.name = "ids"}, %w: tensor<10x4xf32>)
        -> (tensor<?x?x4xf32, #lm.dims<"b", "s", 4>>, tensor<2xi64>) attributes {lm.constraints = ["s <= 512", "b + s <= 600"]} {
      %0 = lm.embedding %w, %ids : (tensor<10x4xf32>, tensor<?x?xi64, #lm.dims<"b", "s">>) -> tensor<?x?x4xf32, #lm.dims<"b", "s", 4>>
      %1 = lm.constant #lm.sym<"b", "s"> : tensor<2xi64>
      return %0, %1 : tensor<?x?x4xf32, #lm.dims<"b", "s", 4>>, tensor<2xi64>
    })";
};

TEST_F(Shapes, Broadcast) {
  EXPECT_EQ(text(*broadcastDims(dims({"b", "1", "s"}), dims({"4", "1"}))), "b, 4, s");
  EXPECT_EQ(text(*broadcastDims(dims({"b"}), dims({"s"}))), "max(b, s)");
  EXPECT_EQ(text(*broadcastDims(dims({"b"}), dims({"7"}))), "7");
  EXPECT_EQ(text(*broadcastDims(dims({"?"}), dims({"1"}))), "?");
  EXPECT_TRUE(failed(broadcastDims(dims({"2"}), dims({"3"}))));
}

TEST_F(Shapes, Types) {
  auto type = getTensorType(dims({"2", "s", "?"}), f32);
  EXPECT_EQ(type.getShape(), (ArrayRef<int64_t>{2, ShapedType::kDynamic, ShapedType::kDynamic}));
  EXPECT_EQ(text(getDims(type)), "2, s, ?");
  EXPECT_EQ(getTensorType(dims({"2", "3"}), f32).getEncoding(), Attribute());
  EXPECT_EQ(getNumElements(getTensorType(dims({"2", "s"}), f32)).str(), "2*s");
}

TEST_F(Shapes, PinReplacesSymbolsEverywhere) {
  auto module = parse(model);
  ASSERT_TRUE(module) << diagnostics;
  auto function = *module->getOps<func::FuncOp>().begin();
  ASSERT_TRUE(succeeded(pinInputShape(function, "ids", {1, 128}))) << diagnostics;
  ASSERT_TRUE(succeeded(refineShapes(function))) << diagnostics;
  EXPECT_TRUE(succeeded(verify(*module))) << diagnostics;
  std::string printed;
  llvm::raw_string_ostream(printed) << *module;
  EXPECT_EQ(printed.find("lm.dims"), std::string::npos) << printed;
  EXPECT_EQ(printed.find("lm.sym"), std::string::npos) << printed;
  EXPECT_EQ(printed.find("lm.constraints"), std::string::npos) << printed;
  EXPECT_NE(printed.find("tensor<1x128x4xf32>"), std::string::npos) << printed;
}

TEST_F(Shapes, PinDiagnosesWhatDoesNotFit) {
  auto check = [&](StringRef name, ArrayRef<int64_t> dims, const char *reason) {
    auto module = parse(model);
    ASSERT_TRUE(module) << diagnostics;
    EXPECT_TRUE(failed(pinInputShape(*module->getOps<func::FuncOp>().begin(), name, dims)));
    EXPECT_NE(diagnostics.find(reason), std::string::npos) << diagnostics;
    diagnostics.clear();
  };
  check("idz", {1, 2}, "expected the name of an input (ids, 1), but got \"idz\"");
  check("ids", {1}, "expected 2 dimensions for input \"ids\", but got 1");
  check("ids", {1, 600}, "expected shapes with \"s <= 512\", but got 600 <= 512");
  check("1", {10, 5}, "expected dimension 1 of input \"1\" to be 4, but got 5");
  check("ids", {-1, 5}, "not negative");
}

TEST_F(Shapes, RefineFollowsInputs) {
  auto module = parse(R"(
    func.func @f(%x: tensor<4x8xf32>) -> tensor<?x?xf32> {
      %0 = lm.exp %x : (tensor<4x8xf32>) -> tensor<?x?xf32>
      %1 = lm.reshape %0 : (tensor<?x?xf32>) -> tensor<2x?xf32>
      %2 = lm.cast %1 : (tensor<2x?xf32>) -> tensor<?x?xf16>
      %3 = lm.cast %2 : (tensor<?x?xf16>) -> tensor<?x?xf32>
      return %3 : tensor<?x?xf32>
    })");
  ASSERT_TRUE(module) << diagnostics;
  auto function = *module->getOps<func::FuncOp>().begin();
  ASSERT_TRUE(succeeded(refineShapes(function))) << diagnostics;
  EXPECT_EQ(function.getResultTypes().front(), RankedTensorType::get({2, 16}, f32));
}

} // namespace
