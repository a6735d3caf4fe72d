// A model of the size of a 7B one needs no memory of that size.
#include "ModelBuilder.h"

#include "mlir/IR/MLIRContext.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

using namespace llmopt;
using namespace llmopt::testing;

static void appendVarint(std::string &out, uint64_t value) {
  for (; value >= 128; value >>= 7)
    out.push_back(static_cast<char>(value | 128));
  out.push_back(static_cast<char>(value));
}

TEST(MemoryTest, ImportsSparseFileOf28GB) {
  constexpr int64_t kWidth = 4096, kLayers = 417, kBytes = kWidth * kWidth * 4;
  // Everything but the tensors comes from protobuf; the tensors are written by hand
  // so that their contents are holes in the file.
  ModelBuilder b;
  b.input("x", {"batch", "4096"}).output("y");
  std::string last = "x";
  for (int64_t i = 0; i < kLayers; ++i) {
    std::string next = i + 1 == kLayers ? "y" : "v" + std::to_string(i);
    b.node("MatMul", {last, "w" + std::to_string(i)}, {next});
    last = next;
  }
  std::string graph = b.model.graph().SerializeAsString();
  b.model.clear_graph();
  std::vector<std::string> heads;
  uint64_t total = graph.size();
  for (int64_t i = 0; i < kLayers; ++i) {
    onnx::TensorProto tensor;
    tensor.add_dims(kWidth);
    tensor.add_dims(kWidth);
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    tensor.set_name("w" + std::to_string(i));
    std::string contents = tensor.SerializeAsString();
    appendVarint(contents, 9 << 3 | 2);
    appendVarint(contents, kBytes);
    std::string head;
    appendVarint(head, 5 << 3 | 2);
    appendVarint(head, contents.size() + kBytes);
    heads.push_back(head + contents);
    total += heads.back().size() + kBytes;
  }
  std::string start = b.model.SerializeAsString();
  appendVarint(start, 7 << 3 | 2);
  appendVarint(start, total);
  start += graph;

  TempDir dir;
  std::string path = dir.file("big.onnx");
  int fd = ::open(path.c_str(), O_CREAT | O_WRONLY, 0600);
  ASSERT_GE(fd, 0);
  auto put = [&](const std::string &bytes) {
    return ::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
  };
  ASSERT_TRUE(put(start));
  for (const std::string &head : heads) {
    ASSERT_TRUE(put(head));
    if (::lseek(fd, kBytes, SEEK_CUR) < 0)
      GTEST_SKIP() << "the file system has no files of this size";
  }
  if (::ftruncate(fd, ::lseek(fd, 0, SEEK_CUR)) != 0)
    GTEST_SKIP() << "the file system has no files of this size";
  ::close(fd);

  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  rusage before, after;
  ::getrusage(RUSAGE_SELF, &before);
  Imported result = importFile(context, path);
  ::getrusage(RUSAGE_SELF, &after);
  EXPECT_TRUE(result.module) << result.text();
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 100 * 1024) << "KB more at the peak";
}
