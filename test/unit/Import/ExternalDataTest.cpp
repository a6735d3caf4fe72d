// Which files external data may name.
#include "ModelBuilder.h"

#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/FileSystem.h"

#include <unistd.h>

using namespace llmopt;
using namespace llmopt::testing;

namespace {

class ExternalDataTest : public ::testing::Test {
protected:
  /// A model x + w, with w [4] in `location`.
  std::string modelBytes(const std::string &location, const std::string &offset = "", const std::string &length = "") {
    ModelBuilder b;
    b.input("x", {"4"}).output("y");
    auto &w = b.floats("w", {4});
    w.clear_raw_data();
    w.set_data_location(onnx::TensorProto::EXTERNAL);
    auto add = [&](const char *key, const std::string &value) {
      auto *entry = w.add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    };
    add("location", location);
    if (!offset.empty())
      add("offset", offset);
    if (!length.empty())
      add("length", length);
    b.node("Add", {"x", "w"}, {"y"});
    return b.bytes();
  }

  std::string errorOf(const std::string &location, const std::string &offset = "", const std::string &length = "") {
    dir.write("m.onnx", modelBytes(location, offset, length));
    Imported result = importFile(context, dir.file("m.onnx"));
    EXPECT_LE(result.errors.size(), 1u);
    return result.text();
  }

  TempDir dir;
  mlir::MLIRContext context;
};

} // namespace

TEST_F(ExternalDataTest, ReadsFilesBesideTheModel) {
  dir.write("w.bin", std::string(32, 'a'));
  EXPECT_EQ(errorOf("w.bin"), "");
  EXPECT_EQ(errorOf("w.bin", "16", "16"), "");
  EXPECT_EQ(errorOf("./w.bin", "16"), "");
}

TEST_F(ExternalDataTest, PutsThePlaceIntoTheWeight) {
  dir.write("w.bin", std::string(32, 'a'));
  dir.write("m.onnx", modelBytes("w.bin", "16", "16"));
  std::string ir = importFile(context, dir.file("m.onnx")).ir();
  EXPECT_NE(ir.find("w.bin\", 16, 16>"), std::string::npos) << ir;
}

TEST_F(ExternalDataTest, RefusesPathsThatLeaveTheDirectory) {
  TempDir other;
  other.write("w.bin", std::string(16, 'a'));
  EXPECT_NE(errorOf("../w.bin").find("must not contain '..'"), std::string::npos);
  EXPECT_NE(errorOf("a/../../w.bin").find("must not contain '..'"), std::string::npos);
  EXPECT_NE(errorOf(other.file("w.bin")).find("must be a path relative to the model"), std::string::npos);
  EXPECT_NE(errorOf("").find("no location"), std::string::npos);
  ASSERT_EQ(::symlink(other.file("w.bin").c_str(), dir.file("link.bin").c_str()), 0);
  EXPECT_NE(errorOf("link.bin").find("leads outside"), std::string::npos);
}

// Model caches keep links to a store of blobs: link/m.onnx -> store/m.onnx, and the
// data as store/w.bin, or as link/w.bin -> store/w.bin.
TEST_F(ExternalDataTest, FollowsTheLinkOfTheModel) {
  TempDir store;
  store.write("m.onnx", modelBytes("w.bin"));
  store.write("w.bin", std::string(16, 'a'));
  ASSERT_EQ(::symlink(store.file("m.onnx").c_str(), dir.file("m.onnx").c_str()), 0);
  EXPECT_EQ(importFile(context, dir.file("m.onnx")).text(), "");
  ASSERT_EQ(::symlink(store.file("w.bin").c_str(), dir.file("w.bin").c_str()), 0);
  EXPECT_EQ(importFile(context, dir.file("m.onnx")).text(), "");
}

TEST_F(ExternalDataTest, RefusesWhatIsNoRegularFile) {
  llvm::sys::fs::create_directory(dir.file("folder"));
  EXPECT_NE(errorOf("folder").find("directory"), std::string::npos);
}

TEST_F(ExternalDataTest, ChecksOffsetAndLength) {
  dir.write("w.bin", std::string(32, 'a'));
  EXPECT_NE(errorOf("w.bin", "17").find("ends behind the file"), std::string::npos);
  EXPECT_NE(errorOf("w.bin", "18446744073709551615").find("ends behind the file"), std::string::npos);
  EXPECT_NE(errorOf("w.bin", "99999999999999999999").find("has the offset"), std::string::npos);
  EXPECT_NE(errorOf("w.bin", "-1").find("has the offset"), std::string::npos);
  EXPECT_NE(errorOf("w.bin", "0", "15").find("expected 16 bytes"), std::string::npos);
}

TEST_F(ExternalDataTest, ReportsMissingFilesInOneLine) {
  ModelBuilder b;
  b.input("x", {"4"}).output("y");
  std::string last = "x";
  for (int i = 0; i < 30; ++i) {
    std::string n = std::to_string(i);
    auto &w = b.floats("w" + n, {4});
    w.clear_raw_data();
    w.set_data_location(onnx::TensorProto::EXTERNAL);
    auto *entry = w.add_external_data();
    entry->set_key("location");
    entry->set_value("file" + n);
    b.node("Add", {last, "w" + n}, {i == 29 ? "y" : "v" + n});
    last = "v" + n;
  }
  dir.write("m.onnx", b.bytes());
  Imported result = importFile(context, dir.file("m.onnx"));
  EXPECT_EQ(result.errors.size(), 1u);
}
