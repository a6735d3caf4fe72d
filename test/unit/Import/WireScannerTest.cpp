// The scanner: what it replaces, what it refuses.
#include "WireScanner.h"
#include "ModelBuilder.h"

#include <random>

using namespace llmopt::onnx_import;
using llmopt::testing::ModelBuilder;

static llvm::ArrayRef<uint8_t> bytesOf(const std::string &text) {
  return {reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

static std::string errorOf(const std::string &file) {
  Skeleton skeleton;
  std::string error;
  EXPECT_FALSE(scanModel(bytesOf(file), skeleton, error));
  return error;
}

TEST(WireScannerTest, ReplacesRawData) {
  ModelBuilder b;
  b.floats("w", {100, 10}).set_raw_data(std::string(4000, 'x'));
  std::string file = b.bytes();
  Skeleton skeleton;
  std::string error;
  ASSERT_TRUE(scanModel(bytesOf(file), skeleton, error)) << error;
  ASSERT_EQ(skeleton.payloads.size(), 1u);
  EXPECT_EQ(skeleton.payloads[0].length, 4000u);
  EXPECT_EQ(file.substr(skeleton.payloads[0].offset, 4000), std::string(4000, 'x'));
  EXPECT_LT(skeleton.bytes.size(), 200u);
  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(skeleton.bytes));
  EXPECT_EQ(model.graph().initializer(0).name(), "w");
  EXPECT_EQ(model.graph().initializer(0).raw_data().size(), 8u);
}

TEST(WireScannerTest, ReplacesPackedFloats) {
  ModelBuilder b;
  auto &tensor = b.floats("w", {2000});
  tensor.clear_raw_data();
  for (int i = 0; i < 2000; ++i)
    tensor.add_float_data(i);
  std::string file = b.bytes();
  Skeleton skeleton;
  std::string error;
  ASSERT_TRUE(scanModel(bytesOf(file), skeleton, error)) << error;
  ASSERT_EQ(skeleton.payloads.size(), 1u);
  EXPECT_EQ(skeleton.payloads[0].length, 8000u);
}

TEST(WireScannerTest, ReachesSubgraphsAttributesAndFunctions) {
  ModelBuilder b;
  auto &node = b.node("If", {"c"}, {"y"});
  auto *branch = node.add_attribute();
  branch->set_name("then_branch");
  branch->set_type(onnx::AttributeProto::GRAPH);
  branch->mutable_g()->add_initializer()->set_raw_data("inner");
  auto *value = b.node("Constant", {}, {"c"}).add_attribute();
  value->mutable_t()->set_raw_data("attribute");
  auto *inFunction = b.model.add_functions()->add_node()->add_attribute();
  inFunction->mutable_t()->set_raw_data("function");
  std::string file = b.bytes();
  Skeleton skeleton;
  std::string error;
  ASSERT_TRUE(scanModel(bytesOf(file), skeleton, error)) << error;
  EXPECT_EQ(skeleton.payloads.size(), 3u);
}

TEST(WireScannerTest, RefusesTruncation) {
  ModelBuilder b;
  b.input("x", {"batch", "4"}).output("y");
  b.floats("w", {4, 4});
  b.node("MatMul", {"x", "w"}, {"y"});
  std::string file = b.bytes();
  unsigned refused = 0;
  for (size_t size = 0; size < file.size(); ++size) {
    Skeleton skeleton;
    std::string error;
    refused += !scanModel(bytesOf(file.substr(0, size)), skeleton, error);
  }
  // Only a cut between two fields of the model itself can go unnoticed here.
  EXPECT_GT(refused, file.size() - 8);
}

TEST(WireScannerTest, RefusesBadWireFormat) {
  EXPECT_NE(errorOf("\x3a\xff\xff\xff\xff\x0f").find("ends behind the file"), std::string::npos);
  EXPECT_NE(errorOf(std::string(11, '\xff')).find("at most 10 bytes"), std::string::npos);
  EXPECT_NE(errorOf(std::string("\0\0", 2)).find("expected a field"), std::string::npos);
  EXPECT_NE(errorOf("\x3b").find("wire type 3"), std::string::npos);
  EXPECT_NE(errorOf("\x3a").find("ends inside a number"), std::string::npos);
  EXPECT_NE(errorOf("\x09\x01").find("ends inside a field"), std::string::npos);
  // 2^64 - 1 bytes must not wrap.
  EXPECT_NE(errorOf(std::string("\x3a") + std::string(9, '\xff') + "\x01").find("ends behind"), std::string::npos);
}

TEST(WireScannerTest, RefusesDeepNesting) {
  // graph > node > attribute > graph ...
  std::string inner;
  const char tags[] = {0x0a, 0x2a, 0x32}; // node of graph, attribute of node, g of attribute
  for (int i = 299; i >= 0; --i) {
    std::string outer(1, tags[i % 3]);
    for (size_t n = inner.size(); outer.size() < 11; n >>= 7) {
      outer.push_back(static_cast<char>(n >= 128 ? n | 128 : n));
      if (n < 128)
        break;
    }
    inner = outer + inner;
  }
  std::string file("\x3a");
  size_t n = inner.size();
  for (; n >= 128; n >>= 7)
    file.push_back(static_cast<char>(n | 128));
  file.push_back(static_cast<char>(n));
  EXPECT_NE(errorOf(file + inner).find("nested more than"), std::string::npos);
}

TEST(WireScannerTest, SurvivesRandomBytes) {
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    std::string file(random() % 200, '\0');
    for (char &c : file)
      c = static_cast<char>(random());
    if (i % 2) // more often a graph
      file = "\x3a" + file;
    Skeleton skeleton;
    std::string error;
    if (!scanModel(bytesOf(file), skeleton, error))
      EXPECT_FALSE(error.empty());
  }
}
