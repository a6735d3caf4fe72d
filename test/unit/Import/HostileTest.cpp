// Bad models end in one-line errors, never in signals.
#include "ModelBuilder.h"

#include "mlir/IR/MLIRContext.h"

#include <fstream>
#include <random>
#include <sstream>

using namespace llmopt;
using namespace llmopt::testing;

namespace {

class HostileTest : public ::testing::Test {
protected:
  std::string errorOf(const std::string &bytes) {
    Imported result = importFile(context, dir.write("m.onnx", bytes));
    EXPECT_FALSE(result.errors.empty());
    return result.text();
  }
  std::string errorOf(const ModelBuilder &b) { return errorOf(b.bytes()); }

  TempDir dir;
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
};

onnx::AttributeProto floatAttribute(const std::string &name, float value) {
  onnx::AttributeProto attribute;
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::FLOAT);
  attribute.set_f(value);
  return attribute;
}

bool has(const std::string &text, const char *part) { return text.find(part) != std::string::npos; }

} // namespace

TEST_F(HostileTest, Files) {
  EXPECT_TRUE(has(importFile(context, dir.file("none.onnx")).text(), "no such file"));
  EXPECT_TRUE(has(importFile(context, dir.path).text(), "directory"));
  EXPECT_TRUE(has(errorOf(std::string()), "the file is empty"));
  EXPECT_TRUE(has(errorOf("this is no model, but a text"), "not a"));
  EXPECT_TRUE(has(errorOf(std::string("\x08\x08", 2)), "it has no graph"));
}

TEST_F(HostileTest, EveryPrefix) {
  ModelBuilder b;
  b.input("x", {"batch", "4"}).output("y");
  b.floats("w", {4, 4});
  b.node("MatMul", {"x", "w"}, {"y"});
  std::string bytes = b.bytes();
  for (size_t size = 0; size < bytes.size(); ++size)
    errorOf(bytes.substr(0, size));
}

TEST_F(HostileTest, Graphs) {
  ModelBuilder undefined;
  undefined.output("y");
  undefined.node("Relu", {"nothing"}, {"y"}, "first");
  EXPECT_TRUE(has(errorOf(undefined), "node 'first' (ai.onnx.Relu-17): input 'nothing' is not defined"));

  ModelBuilder cycle;
  cycle.output("a");
  cycle.node("Relu", {"b"}, {"a"}, "one");
  cycle.node("Relu", {"a"}, {"b"}, "two");
  EXPECT_TRUE(has(errorOf(cycle), "is on a cycle"));

  ModelBuilder twice;
  twice.input("x", {"4"}).output("y");
  twice.node("Relu", {"x"}, {"y"});
  twice.node("Abs", {"x"}, {"y"});
  EXPECT_TRUE(has(errorOf(twice), "value 'y' is defined twice"));

  ModelBuilder shadowed;
  shadowed.input("x", {"4"}).output("y");
  shadowed.node("Constant", {}, {"c"}).add_attribute()->CopyFrom(floatAttribute("value_float", 1));
  shadowed.node("Relu", {"x"}, {"c"}, "late");
  shadowed.node("Add", {"x", "c"}, {"y"});
  EXPECT_TRUE(has(errorOf(shadowed), "value 'c' is defined twice, again by node 'late'"));

  ModelBuilder inputs;
  inputs.input("x", {"4"}).input("x", {"4"}).output("x");
  EXPECT_TRUE(has(errorOf(inputs), "input 'x': is defined twice"));

  ModelBuilder types;
  types.input("x", {"4"}).input("i", {"4"}, onnx::TensorProto::INT64).output("y");
  types.node("Add", {"x", "i"}, {"y"}, "sum");
  EXPECT_TRUE(has(errorOf(types), "node 'sum' (ai.onnx.Add-17): expected operands of one element type"));

  ModelBuilder channels;
  channels.input("x", {"2", "3", "4"}).output("y");
  channels.floats("v", {4});
  channels.node("BatchNormalization", {"x", "v", "v", "v", "v"}, {"y"}, "norm");
  EXPECT_TRUE(has(errorOf(channels), "expected a number of channels of 3, but got 4"));

  for (int64_t index : {3, -4}) {
    ModelBuilder table;
    table.input("x", {"3", "n"}).output("y").ints("i", {0, index, -3});
    table.node("Gather", {"x", "i"}, {"y"}, "pick");
    EXPECT_TRUE(has(errorOf(table), "node 'pick' (ai.onnx.Gather-17): expected indices from -3 to 2, but got"))
        << index;
  }

  ModelBuilder outputs;
  outputs.input("x", {"4"}).output("y", onnx::TensorProto::INT64);
  outputs.node("Relu", {"x"}, {"y"});
  EXPECT_TRUE(has(errorOf(outputs), "output 'y' is declared as INT64"));

  ModelBuilder empty;
  empty.input("x", {"4"});
  EXPECT_TRUE(has(errorOf(empty), "no outputs"));
}

TEST_F(HostileTest, Dimensions) {
  for (const char *dim : {"-5", "9223372036854775807", "4611686018427387904"}) {
    ModelBuilder b;
    b.input("x", {dim}).output("y");
    b.node("Relu", {"x"}, {"y"});
    EXPECT_TRUE(has(errorOf(b), "out of range")) << dim;
  }
  ModelBuilder product;
  product.input("x", {"1000000000", "1000000000", "1000000000"}).output("y");
  product.node("Relu", {"x"}, {"y"});
  EXPECT_TRUE(has(errorOf(product), "out of range"));

  for (std::vector<int64_t> dims : {std::vector<int64_t>{-1}, {int64_t(1) << 62, 8}, {int64_t(1) << 61}}) {
    ModelBuilder b;
    b.input("x", {"4"}).output("y");
    auto &w = b.floats("w", {4});
    w.clear_dims();
    for (int64_t dim : dims)
      w.add_dims(dim);
    b.node("Add", {"x", "w"}, {"y"});
    EXPECT_TRUE(has(errorOf(b), "initializer 'w'"));
  }
}

TEST_F(HostileTest, HugeShapesFromConstants) {
  for (const char *op : {"Expand", "Reshape", "Tile", "ConstantOfShape"}) {
    ModelBuilder b;
    b.input("x", {"1"}).output("y");
    b.ints("shape", {int64_t(1) << 40, int64_t(1) << 40, int64_t(1) << 40});
    bool alone = std::string(op) == "ConstantOfShape";
    b.node(op, alone ? std::vector<std::string>{"shape"} : std::vector<std::string>{"x", "shape"}, {"y"});
    importFile(context, dir.write("m.onnx", b.bytes()));
  }
}

TEST_F(HostileTest, AllUnsupportedOperatorsAtOnce) {
  ModelBuilder b;
  b.input("x", {"4"}).output("y").output("z");
  b.node("ImageDecoder", {"x", "x"}, {"a", "b"}, "first");
  b.node("ImageDecoder", {"a", "x"}, {"c", "d"}, "second");
  b.node("Made", {"c"}, {"z"}, "third").set_domain("up");
  b.node("Relu", {"c"}, {"y"});
  std::string text = errorOf(b);
  EXPECT_TRUE(has(text, "unsupported operator ai.onnx.ImageDecoder (opset 17), 2 nodes, first 'first'")) << text;
  EXPECT_TRUE(has(text, "unsupported operator up.Made (opset 1), 1 node: 'third'")) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

TEST_F(HostileTest, NamesArePrintable) {
  ModelBuilder b;
  b.output("y");
  b.node("Relu", {"bad\n\x1b[31mname"}, {"y"}, "evil\r\nnode");
  std::string text = errorOf(b);
  for (char c : text)
    EXPECT_TRUE(c >= 0x20 && c < 0x7f) << int(c);
}

TEST_F(HostileTest, FunctionsThatCallThemselves) {
  ModelBuilder b;
  b.input("x", {"4"}).output("y");
  b.node("F", {"x"}, {"y"}).set_domain("local");
  auto *import = b.model.add_opset_import();
  import->set_domain("local");
  import->set_version(1);
  auto *function = b.model.add_functions();
  function->set_name("F");
  function->set_domain("local");
  function->add_input("a");
  function->add_output("b");
  *function->add_opset_import() = *import;
  auto *node = function->add_node();
  node->set_op_type("F");
  node->set_domain("local");
  node->add_input("a");
  node->add_output("b");
  EXPECT_TRUE(has(errorOf(b), "functions call each other more than"));
}

// Mutations of whole models: bytes changed, cut out, doubled, swapped.
static std::string mutate(std::string bytes, std::mt19937 &random) {
  int changes = 1 + random() % 6;
  for (int i = 0; i < changes && !bytes.empty(); ++i) {
    size_t at = random() % bytes.size(), length = 1 + random() % 16;
    switch (random() % 6) {
    case 0:
      bytes[at] = static_cast<char>(random());
      break;
    case 1:
      bytes[at] ^= static_cast<char>(1 << random() % 8);
      break;
    case 2:
      bytes.erase(at, length);
      break;
    case 3:
      bytes.insert(at, bytes.substr(random() % bytes.size(), length));
      break;
    case 4:
      bytes[at] = static_cast<char>(random() % 2 ? 0xff : 0x7f);
      break;
    case 5:
      bytes.replace(at, length, bytes.substr(random() % bytes.size(), length));
    }
  }
  return bytes;
}

static ModelBuilder sampleModel() {
  ModelBuilder b;
  b.input("x", {"batch", "sequence", "8"}).input("mask", {"batch", "sequence"}, onnx::TensorProto::INT64);
  b.output("y").output("z");
  b.floats("w", {8, 8});
  b.floats("scale", {8});
  b.ints("start", {0}).ints("end", {-1}).ints("axes", {1}).ints("heads", {0, 0, 2, 4});
  b.node("Shape", {"x"}, {"s"});
  setInt(b.node("Gather", {"s", "axes"}, {"g"}), "axis", 0);
  setInt(b.node("Concat", {"start", "g"}, {"c"}), "axis", 0);
  b.node("Slice", {"x", "start", "end", "axes"}, {"cut"});
  b.node("MatMul", {"cut", "w"}, {"m"});
  b.node("LayerNormalization", {"m", "scale", "scale"}, {"n"});
  b.node("Reshape", {"n", "heads"}, {"r"});
  setInts(b.node("Transpose", {"r"}, {"t"}), "perm", {0, 2, 1, 3});
  setInt(b.node("Softmax", {"t"}, {"y"}), "axis", -1);
  b.node("Unsqueeze", {"mask", "axes"}, {"u"});
  setInt(b.node("Cast", {"u"}, {"z"}), "to", 1);
  return b;
}

static void fuzz(const std::string &bytes, int count, unsigned seed) {
  TempDir dir;
  std::mt19937 random(seed);
  for (int i = 0; i < count; ++i) {
    mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
    importFile(context, dir.write("m.onnx", mutate(bytes, random)));
  }
}

TEST(FuzzTest, SmallModel) { fuzz(sampleModel().bytes(), 6000, 1); }

TEST(FuzzTest, ExportedModels) {
  for (const char *name : {"bert-tiny.torchscript14.onnx", "bert-tiny.dynamo.onnx", "vit-tiny.optimum.onnx"}) {
    std::ifstream file(std::string(LLMOPT_TEST_MODELS) + "/" + name, std::ios::binary);
    std::stringstream bytes;
    bytes << file.rdbuf();
    ASSERT_FALSE(bytes.str().empty()) << name;
    // The first part of a model is its nodes.
    fuzz(bytes.str(), 150, 2);
  }
}
