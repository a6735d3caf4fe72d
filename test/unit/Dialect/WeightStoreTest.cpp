// Mapped weight files: contents, and files that do not hold what they should.
#include "llmopt/Dialect/LM/IR/WeightStore.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/MLIRContext.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

using namespace mlir;
using namespace llmopt::lm;

namespace {

struct WeightStoreTest : ::testing::Test {
  MLIRContext context;
  std::string directory;

  void SetUp() override {
    context.getOrLoadDialect<LMDialect>();
    const char *base = std::getenv("TMPDIR");
    directory = std::string(base ? base : "/tmp") + "/weights-XXXXXX";
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  }
  void TearDown() override {
    for (const char *name : {"/w", "/empty", "/fifo"})
      ::unlink((directory + name).c_str());
    ::rmdir(directory.c_str());
  }
  std::string write(const char *name, const std::string &bytes) {
    std::ofstream(directory + name, std::ios::binary) << bytes;
    return directory + name;
  }
  FileAttr file(const std::string &path, uint64_t offset, uint64_t bytes) {
    return FileAttr::get(&context, StringAttr::get(&context, path), offset, bytes);
  }
  std::string error(FileAttr attr) {
    llvm::Expected<ArrayRef<char>> bytes = WeightStore::get(&context).getBytes(attr);
    return bytes ? "" : llvm::toString(bytes.takeError());
  }
};

TEST_F(WeightStoreTest, ReadsRangesAndSurvivesRelease) {
  std::string contents(3 * 4096 + 17, 'x');
  contents[5000] = 'y';
  std::string path = write("/w", contents);
  WeightStore &store = WeightStore::get(&context);
  for (int i = 0; i < 2; ++i) {
    llvm::Expected<ArrayRef<char>> bytes = store.getBytes(file(path, 1, contents.size() - 1));
    ASSERT_TRUE(bool(bytes));
    EXPECT_EQ(std::string(bytes->begin(), bytes->end()), contents.substr(1));
    store.release(file(path, 1, contents.size() - 1));
  }
}

TEST_F(WeightStoreTest, RejectsWhatTheFileDoesNotHold) {
  std::string path = write("/w", "12345678"), empty = write("/empty", "");
  EXPECT_EQ(error(file(path, 8, 0)), "");
  EXPECT_EQ(error(file(empty, 0, 0)), "");
  EXPECT_NE(error(file(path, 4, 5)).find("to hold 5 bytes at offset 4, but it has 8 bytes"), std::string::npos);
  EXPECT_NE(error(file(path, UINT64_MAX - 1, 4)), "");
  EXPECT_NE(error(file(path, 4, UINT64_MAX - 1)), "");
  EXPECT_NE(error(file(empty, 0, 1)), "");
  EXPECT_NE(error(file(directory + "/none", 0, 1)).find("cannot open"), std::string::npos);
  EXPECT_NE(error(file(directory, 0, 1)).find("regular file"), std::string::npos);
  ASSERT_EQ(::mkfifo((directory + "/fifo").c_str(), 0600), 0);
  EXPECT_NE(error(file(directory + "/fifo", 0, 1)).find("regular file"), std::string::npos);
}

} // namespace
