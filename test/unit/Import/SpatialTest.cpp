// Operators over images: symbolic sizes, what goes wrong, and the edges that
// ONNX's vectors do not touch.
#include "ModelBuilder.h"

#include "llmopt/Dialect/LM/Eval/Evaluator.h"

#include "mlir/IR/MLIRContext.h"

#include <limits>

using namespace llmopt;
using namespace llmopt::testing;
using lm::Tensor;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

class SpatialTest : public ::testing::Test {
protected:
  Imported import(const ModelBuilder &b) { return importFile(context, dir.write("m.onnx", b.bytes())); }
  void expectError(const ModelBuilder &b, const std::string &text) {
    Imported result = import(b);
    EXPECT_NE(result.text().find(text), std::string::npos) << text << " in " << result.text();
  }
  std::vector<Tensor> run(const ModelBuilder &b, llvm::ArrayRef<Tensor> inputs) {
    Imported result = import(b);
    EXPECT_TRUE(result.module) << result.text();
    if (!result.module)
      return {};
    auto outputs = lm::evaluate((*result.module).lookupSymbol<mlir::func::FuncOp>("main"), inputs);
    EXPECT_TRUE(mlir::succeeded(outputs));
    return mlir::failed(outputs) ? std::vector<Tensor>() : std::vector<Tensor>(outputs->begin(), outputs->end());
  }
  Tensor floats(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<double> values) {
    return llvm::cantFail(Tensor::fromFloats(mlir::Float32Type::get(&context), dims, values));
  }

  TempDir dir;
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
};

void setString(onnx::NodeProto &node, const std::string &name, const std::string &value) {
  auto *a = node.add_attribute();
  a->set_name(name);
  a->set_type(onnx::AttributeProto::STRING);
  a->set_s(value);
}

TEST_F(SpatialTest, PoolsOfSymbolicImages) {
  ModelBuilder b;
  b.input("x", {"batch", "3", "height", "width"}).output("y");
  auto &pool = b.node("MaxPool", {"x"}, {"y"});
  setInts(pool, "kernel_shape", {3, 2});
  setInts(pool, "strides", {2, 1});
  setInts(pool, "pads", {1, 0, 1, 0});
  Imported result = import(b);
  ASSERT_TRUE(result.module) << result.text();
  std::string ir = result.ir();
  EXPECT_NE(ir.find("#lm.dims<\"batch\", 3, \"floordiv(height + 1, 2)\", \"width - 1\">"), std::string::npos) << ir;
  // An image narrower than the kernel is refused when shapes are bound.
  EXPECT_NE(ir.find("2 <= width"), std::string::npos) << ir;
}

TEST_F(SpatialTest, WhatIsWrongIsSaid) {
  auto pool = [](std::initializer_list<std::pair<const char *, std::vector<int64_t>>> attributes) {
    ModelBuilder b;
    b.input("x", {"1", "2", "5", "5"}).output("y");
    auto &node = b.node("AveragePool", {"x"}, {"y"}, "pool");
    for (const auto &[name, values] : attributes)
      setInts(node, name, values);
    return b;
  };
  expectError(pool({}),
              "node 'pool' (ai.onnx.AveragePool-17): expected a rank of at least 3 and attribute 'kernel_shape'");
  expectError(pool({{"kernel_shape", {3}}}), "expected 2 numbers of at least 1 as 'kernel_shape'");
  expectError(pool({{"kernel_shape", {3, 3}}, {"strides", {0, 1}}}), "expected 2 numbers of at least 1 as 'strides'");
  expectError(pool({{"kernel_shape", {3, 3}}, {"pads", {0, -1, 0, 0}}}), "expected 4 numbers of at least 0 as 'pads'");
  expectError(pool({{"kernel_shape", {3, 6}}}), "expected a kernel that fits into 5 elements, but it takes 6");
  expectError(pool({{"kernel_shape", {1 << 20, 1 << 20}}, {"pads", {1 << 20, 1 << 20, 0, 0}}}), "");

  ModelBuilder b;
  b.input("x", {"1", "2", "5", "5"}).input("r", {"3", "4"}).input("i", {"3"}, onnx::TensorProto::INT64).output("y");
  b.node("RoiAlign", {"x", "r", "i"}, {"y"}, "align");
  expectError(b,
              "unsupported operator ai.onnx.RoiAlign with sampling_ratio 0 (opset 17), 1 node: 'align'; export with a "
              "fixed sampling_ratio");
}

TEST_F(SpatialTest, PaddingIsNeverTheMaximum) {
  ModelBuilder b;
  b.input("x", {"1", "1", "2"}).output("y").output("i", onnx::TensorProto::INT64);
  auto &pool = b.node("MaxPool", {"x"}, {"y", "i"});
  setInts(pool, "kernel_shape", {2});
  setInts(pool, "pads", {1, 0});
  std::vector<Tensor> outputs = run(b, {floats({1, 1, 2}, {-kInf, -kInf})});
  ASSERT_EQ(outputs.size(), 2u);
  EXPECT_EQ(outputs[0].floats()[0], -kInf);
  EXPECT_EQ(outputs[1].ints(), (llvm::ArrayRef<int64_t>{0, 0}));
}

TEST_F(SpatialTest, WhatLiesOutsideWeighsNothing) {
  ModelBuilder b(20);
  b.input("x", {"1", "1", "1", "2"}).input("g", {"1", "1", "2", "2"}).output("y");
  auto &sample = b.node("GridSample", {"x", "g"}, {"y"});
  setString(sample, "padding_mode", "zeros");
  setInt(sample, "align_corners", 1);
  // Half a step beyond both ends: one element inside, and one outside, which must not
  // be the last one once more with a weight of 0 (then infinity would give NaN).
  std::vector<Tensor> outputs = run(b, {floats({1, 1, 1, 2}, {3, kInf}), floats({1, 1, 2, 2}, {-2, 0, 2, 0})});
  ASSERT_EQ(outputs.size(), 1u);
  EXPECT_EQ(outputs[0].floats()[0], 1.5);
  EXPECT_EQ(outputs[0].floats()[1], kInf);
}

} // namespace
