// What graphs become.
#include "ModelBuilder.h"

#include "llmopt/Dialect/LM/IR/NodeLocation.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"

using namespace llmopt;
using namespace llmopt::testing;

namespace {

class ImportTest : public ::testing::Test {
protected:
  Imported import(const ModelBuilder &b, const ONNXImportOptions &options = {}) {
    return importFile(context, dir.write("m.onnx", b.bytes()), options);
  }
  void expectIR(const ModelBuilder &b, std::initializer_list<const char *> parts) {
    Imported result = import(b);
    ASSERT_TRUE(result.module) << result.text();
    std::string ir = result.ir();
    for (const char *part : parts)
      EXPECT_NE(ir.find(part), std::string::npos) << part << " in\n" << ir;
  }

  TempDir dir;
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
};

} // namespace

TEST_F(ImportTest, WeightsStayInTheFile) {
  ModelBuilder b;
  b.input("x", {"batch", "4"}).output("y");
  b.floats("layer.weight", {4, 4});
  b.node("MatMul", {"x", "layer.weight"}, {"y"});
  expectIR(b, {"lm.weight \"layer.weight\" from(#lm.file<", "lm.name = \"x\"", "lm.name = \"y\"",
               "#lm.dims<\"batch\", 4>", "lm.opset_imports = {ai.onnx = 17 : i64}"});
}

TEST_F(ImportTest, ShapeChainsBecomeSymbols) {
  ModelBuilder b;
  b.input("x", {"batch", "sequence", "8"}).output("y");
  b.ints("one", {1}).ints("two", {2}).ints("four", {4}).ints("zero", {0});
  b.node("Shape", {"x"}, {"s"});
  b.node("Gather", {"s", "zero"}, {"b"});
  b.node("Gather", {"s", "one"}, {"q"});
  setInt(b.node("Concat", {"b", "q", "two", "four"}, {"shape"}), "axis", 0);
  b.node("Reshape", {"x", "shape"}, {"y"});
  Imported result = import(b);
  ASSERT_TRUE(result.module) << result.text();
  EXPECT_NE(result.ir().find("#lm.dims<\"batch\", \"sequence\", 2, 4>"), std::string::npos) << result.ir();
  EXPECT_EQ(result.ir().find("lm.shape"), std::string::npos) << result.ir();
}

TEST_F(ImportTest, SliceBoundsBecomeConstraints) {
  ModelBuilder b;
  b.input("x", {"batch", "sequence"}).input("p", {"1", "512"}).output("y");
  b.ints("zero", {0}).ints("one", {1});
  b.node("Shape", {"x"}, {"s"});
  b.node("Gather", {"s", "one"}, {"q"});
  b.node("Slice", {"p", "zero", "q", "one"}, {"cut"});
  b.node("Add", {"x", "cut"}, {"y"});
  expectIR(b, {"lm.constraints = [\"sequence <= 512\"]", "#lm.dims<\"batch\", \"sequence\">"});
}

TEST_F(ImportTest, ConstantSliceBoundsAreExact) {
  ModelBuilder b;
  b.input("x", {"sequence"}).output("y").output("z");
  b.ints("zero", {0}).ints("many", {512}).ints("last", {-1}).ints("end", {INT64_MAX});
  b.node("Slice", {"x", "zero", "many"}, {"y"});
  b.node("Slice", {"x", "last", "end"}, {"z"});
  expectIR(b, {"min(", "tensor<1xf32>"});
}

TEST_F(ImportTest, PinsShapes) {
  ModelBuilder b;
  b.input("x", {"batch", "4"}).output("y");
  b.node("Relu", {"x"}, {"y"});
  ONNXImportOptions options;
  options.inputShapes["x"] = {"2", "4"};
  EXPECT_NE(import(b, options).ir().find("tensor<2x4xf32>"), std::string::npos);
  options.inputShapes["x"] = {"2"};
  EXPECT_NE(import(b, options).text().find("expected a shape of 2 dimensions"), std::string::npos);
  options.inputShapes.clear();
  options.inputShapes["nothing"] = {"2"};
  EXPECT_NE(import(b, options).text().find("no input 'nothing'"), std::string::npos);
}

TEST_F(ImportTest, NodesNeedNoOrder) {
  ModelBuilder b;
  b.input("x", {"4"}).output("y");
  b.node("Exp", {"a"}, {"y"});
  b.node("Neg", {"x"}, {"a"});
  expectIR(b, {"lm.neg", "lm.exp"});
}

TEST_F(ImportTest, InitializersAmongInputsAreWeights) {
  ModelBuilder b(11);
  b.model.set_ir_version(3);
  b.input("x", {"4"}).input("w", {"4"}).output("y");
  b.floats("w", {4});
  b.node("Add", {"x", "w"}, {"y"});
  Imported result = import(b);
  ASSERT_TRUE(result.module) << result.text();
  auto function = (*result.module).lookupSymbol<mlir::func::FuncOp>("main");
  EXPECT_EQ(function.getNumArguments(), 1u);
}

TEST_F(ImportTest, FunctionsAreInlinedWithTheirAttributes) {
  ModelBuilder b;
  b.input("x", {"4"}).output("y");
  auto &call = b.node("Scaled", {"x"}, {"y"}, "call");
  call.set_domain("local");
  setInt(call, "to", onnx::TensorProto::FLOAT16);
  b.model.mutable_graph()->mutable_output(0)->mutable_type()->mutable_tensor_type()->set_elem_type(
      onnx::TensorProto::FLOAT16);
  auto *function = b.model.add_functions();
  function->set_name("Scaled");
  function->set_domain("local");
  function->add_input("a");
  function->add_input("unused");
  function->add_output("c");
  function->add_attribute("to");
  function->add_opset_import()->set_version(17);
  auto *node = function->add_node();
  node->set_op_type("Cast");
  node->add_input("a");
  node->add_output("c");
  auto *to = node->add_attribute();
  to->set_name("to");
  to->set_ref_attr_name("to");
  to->set_type(onnx::AttributeProto::INT);
  expectIR(b, {"lm.cast", "tensor<4xf16>"});
}

/// A function `name` that adds a weight "w" of 20 times these bytes.
static void addWeightFunction(ModelBuilder &b, const char *name, const std::string &bytes) {
  auto *function = b.model.add_functions();
  function->set_name(name);
  function->set_domain("local");
  function->add_input("a");
  function->add_output("c");
  function->add_opset_import()->set_version(17);
  auto *constant = function->add_node();
  constant->set_op_type("Constant");
  constant->add_output("w");
  auto *value = constant->add_attribute();
  value->set_name("value");
  value->set_type(onnx::AttributeProto::TENSOR);
  value->mutable_t()->set_data_type(onnx::TensorProto::FLOAT);
  value->mutable_t()->add_dims(20);
  value->mutable_t()->set_raw_data(bytes);
  auto *add = function->add_node();
  add->set_op_type("Add");
  add->add_input("a");
  add->add_input("w");
  add->add_output("c");
}

TEST_F(ImportTest, DuplicateWeightNamesAreMadeUnique) {
  ModelBuilder b;
  b.input("x", {"20"}).output("y");
  addWeightFunction(b, "AddA", std::string(80, 'a'));
  addWeightFunction(b, "AddB", std::string(80, 'b'));
  b.node("AddA", {"x"}, {"v"}, "same").set_domain("local");
  b.node("AddB", {"v"}, {"y"}, "same").set_domain("local");
  expectIR(b, {"lm.weight \"same/w\"", "lm.weight \"same/w_1\""});
}

TEST_F(ImportTest, EqualWeightsOfOneNameAreOne) {
  ModelBuilder b;
  b.input("x", {"20"}).output("y");
  addWeightFunction(b, "AddA", std::string(80, 'a'));
  b.node("AddA", {"x"}, {"v"}, "same").set_domain("local");
  b.node("AddA", {"v"}, {"y"}, "same").set_domain("local");
  expectIR(b, {"%0 = lm.weight \"same/w\"", "lm.add %arg0, %0", "lm.add %1, %0"});
}

TEST_F(ImportTest, ModulePathsComeFromScopesAndWeights) {
  ModelBuilder b;
  b.input("x", {"4", "4"}).output("y");
  b.floats("onnx::MatMul_1", {4, 4});
  b.floats("encoder.layer.1.query.bias", {4});
  b.node("MatMul", {"x", "onnx::MatMul_1"}, {"m"}, "/encoder/layer.0/query/MatMul");
  b.node("Add", {"m", "encoder.layer.1.query.bias"}, {"a"}, "Add_7");
  auto &relu = b.node("Relu", {"a"}, {"y"}, "node_relu");
  auto *scopes = relu.add_metadata_props();
  scopes->set_key("pkg.torch.onnx.name_scopes");
  scopes->set_value("['', 'encoder', 'encoder.layer.2', 'relu']");
  Imported result = import(b);
  ASSERT_TRUE(result.module) << result.text();
  std::map<std::string, std::string> paths;
  (*result.module)->walk([&](mlir::Operation *op) {
    paths[op->getName().getStringRef().str()] = lm::getModulePath(op);
  });
  EXPECT_EQ(paths["lm.matmul"], "encoder.layer.0.query");
  EXPECT_EQ(paths["lm.add"], "encoder.layer.1.query");
  EXPECT_EQ(paths["lm.relu"], "encoder.layer.2");
}

TEST_F(ImportTest, ConstantConditionsTakeTheirBranch) {
  ModelBuilder b;
  b.input("x", {"4"}).output("y");
  auto *condition = b.model.mutable_graph()->add_initializer();
  condition->set_name("c");
  condition->set_data_type(onnx::TensorProto::BOOL);
  condition->add_int32_data(0);
  auto &node = b.node("If", {"c"}, {"y"});
  for (const char *name : {"then_branch", "else_branch"}) {
    auto *branch = node.add_attribute();
    branch->set_name(name);
    branch->set_type(onnx::AttributeProto::GRAPH);
    auto *inner = branch->mutable_g()->add_node();
    inner->set_op_type(std::string(name) == "then_branch" ? "ImageDecoder" : "Neg");
    inner->add_input("x"); // captured
    inner->add_output("b");
    branch->mutable_g()->add_output()->set_name("b");
  }
  expectIR(b, {"lm.neg"});
}

// Names of a branch hide those outside, even the result's own (merged decoders).
TEST_F(ImportTest, BranchesMayNameTheirValuesAsTheResult) {
  ModelBuilder b;
  b.input("x", {"4"}).output("y");
  auto *condition = b.model.mutable_graph()->add_initializer();
  condition->set_name("c");
  condition->set_data_type(onnx::TensorProto::BOOL);
  condition->add_int32_data(1);
  auto &node = b.node("If", {"c"}, {"y"});
  for (const char *name : {"then_branch", "else_branch"}) {
    auto *branch = node.add_attribute();
    branch->set_name(name);
    branch->set_type(onnx::AttributeProto::GRAPH);
    for (auto [op, from, to] : {std::tuple("Neg", "x", "y"), std::tuple("Abs", "y", "z")}) {
      auto *inner = branch->mutable_g()->add_node();
      inner->set_op_type(op);
      inner->add_input(from);
      inner->add_output(to);
    }
    branch->mutable_g()->add_output()->set_name("z");
  }
  expectIR(b, {"lm.neg", "lm.abs"});
}
