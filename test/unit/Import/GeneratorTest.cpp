// What generators bring along and what is refused of it: GroupQueryAttention, and
// searches around a decoder.
#include "ModelBuilder.h"

#include "mlir/IR/MLIRContext.h"

using namespace llmopt;
using namespace llmopt::testing;

namespace {

class GeneratorTest : public ::testing::Test {
protected:
  Imported import(const ModelBuilder &builder, const ONNXImportOptions &options = {}) {
    return importFile(context, directory.write("m.onnx", builder.bytes()), options);
  }

  /// Grouped queries of four heads of 8 and two key heads over three past tokens.
  static ModelBuilder grouped(const std::vector<std::string> &more = {}) {
    ModelBuilder builder;
    builder.input("q", {"1", "1", "32"}).input("k", {"1", "1", "16"}).input("v", {"1", "1", "16"});
    builder.input("pk", {"1", "2", "3", "8"}).input("pv", {"1", "2", "3", "8"});
    builder.input("last", {"1"}, onnx::TensorProto::INT32).input("total", {"1"}, onnx::TensorProto::INT32);
    std::vector<std::string> inputs = {"q", "k", "v", "pk", "pv", "last", "total"};
    inputs.insert(inputs.end(), more.begin(), more.end());
    onnx::NodeProto &node = builder.node("GroupQueryAttention", inputs, {"y", "present_k", "present_v"}, "attend");
    node.set_domain("com.microsoft");
    setInt(node, "num_heads", 4);
    setInt(node, "kv_num_heads", 2);
    builder.output("y");
    return builder;
  }

  static onnx::NodeProto &node(ModelBuilder &builder) { return *builder.model.mutable_graph()->mutable_node(0); }

  /// A decoder that adds a weight around it to its input.
  static ModelBuilder search() {
    ModelBuilder builder;
    builder.input("ids", {"1"}, onnx::TensorProto::INT32).ints("longest", {20}).floats("shared", {4});
    onnx::NodeProto &node = builder.node("GreedySearch", {"ids", "longest"}, {"sequences"}, "search");
    node.set_domain("com.microsoft");
    setInt(node, "eos_token_id", 7);
    ModelBuilder inner;
    inner.input("x", {"4"}).node("Add", {"x", "shared"}, {"sum"});
    inner.output("sum");
    onnx::AttributeProto &graph = *node.add_attribute();
    graph.set_name("decoder");
    graph.set_type(onnx::AttributeProto::GRAPH);
    *graph.mutable_g() = inner.model.graph();
    builder.output("sequences", onnx::TensorProto::INT32);
    return builder;
  }

  mlir::MLIRContext context;
  TempDir directory;
};

TEST_F(GeneratorTest, GroupedQueriesAreImported) {
  Imported imported = import(grouped());
  EXPECT_TRUE(imported.module) << imported.text();
}

TEST_F(GeneratorTest, QuantizedCachesAreRefused) {
  ModelBuilder builder = grouped();
  onnx::AttributeProto &type = *node(builder).add_attribute();
  type.set_name("k_quant_type");
  type.set_type(onnx::AttributeProto::STRING);
  type.set_s("PER_TENSOR");
  EXPECT_NE(
      import(builder).text().find("unsupported operator com.microsoft.GroupQueryAttention with a quantized cache"),
      std::string::npos)
      << import(builder).text();
}

TEST_F(GeneratorTest, ScoresAreRefused) {
  ModelBuilder builder = grouped();
  node(builder).add_output("scores");
  builder.output("scores");
  EXPECT_NE(import(builder).text().find("with scores as an output"), std::string::npos) << import(builder).text();
}

TEST_F(GeneratorTest, TheDecoderOfASearchIsTheModel) {
  Imported imported = import(search());
  ASSERT_TRUE(imported.module) << imported.text();
  std::string ir = imported.ir();
  EXPECT_NE(ir.find("lm.name = \"x\""), std::string::npos) << ir;
  EXPECT_NE(ir.find("lm.weight \"shared\""), std::string::npos) << ir;
  auto settings = imported.module->getOperation()->getAttrOfType<mlir::DictionaryAttr>("lm.generation");
  ASSERT_TRUE(settings) << ir;
  EXPECT_EQ(mlir::cast<mlir::IntegerAttr>(settings.get("eos_token_id")).getInt(), 7);
  EXPECT_EQ(mlir::cast<mlir::IntegerAttr>(settings.get("max_length")).getInt(), 20);
}

TEST_F(GeneratorTest, OtherGraphsOfASearchAreNamed) {
  ONNXImportOptions options;
  options.subgraph = "encoder";
  EXPECT_NE(
      import(search(), options).text().find("expected -subgraph=decoder, a graph of GreedySearch, but got 'encoder'"),
      std::string::npos);
  EXPECT_NE(import(grouped(), options).text().find("there is no such node"), std::string::npos);
}

} // namespace
