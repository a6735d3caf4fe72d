// The hand-written artefacts as files, and their weights.
#ifndef LLMOPT_TEST_ARTEFACTS_H
#define LLMOPT_TEST_ARTEFACTS_H

#include "llmopt/weights.h"

#include <cstring>
#include <dirent.h>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <string>
#include <unistd.h>

namespace llmopt::test {

inline constexpr uint8_t buildId[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
inline constexpr size_t dataSize = 272;

inline std::string readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::string artefact(const std::string &name) {
  return readFile(std::string(LLMOPT_ARTEFACTS) + "/" + name + ".so");
}

/// w = {1, 2, 3, 4}, b = {-1, -1, -1, -1}
inline std::string weightData() {
  std::string data(dataSize, '\0');
  const float w[] = {1, 2, 3, 4}, b[] = {-1, -1, -1, -1};
  memcpy(&data[0], w, sizeof(w));
  memcpy(&data[256], b, sizeof(b));
  return data;
}

inline std::string weightsFile(const std::string &data, uint64_t dataOffset = 256, const uint8_t *id = buildId) {
  llmopt_weights_header header;
  llmopt_weights_header_init(&header, id, dataOffset, data.size(), llmopt_hash_bytes(data.data(), data.size(), 0));
  std::string file(reinterpret_cast<char *>(&header), sizeof(header));
  file.resize(dataOffset);
  return file + data;
}

/// A fresh directory for each test.
class InDirectory : public testing::Test {
protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "llmopt-XXXXXX";
    ASSERT_NE(mkdtemp(&name[0]), nullptr);
    directory = name;
  }
  void TearDown() override {
    if (DIR *d = opendir(directory.c_str())) {
      while (dirent *entry = readdir(d))
        unlink((directory + "/" + entry->d_name).c_str());
      closedir(d);
    }
    rmdir(directory.c_str());
  }

  std::string path(const std::string &name) { return directory + "/" + name; }
  std::string write(const std::string &name, const std::string &content) {
    std::ofstream(path(name), std::ios::binary) << content;
    return path(name);
  }
  void writePair(const std::string &so = artefact("affine"), const std::string &weights = weightsFile(weightData())) {
    write("m.so", so);
    write("m.weights", weights);
  }

  std::string directory;
};

} // namespace llmopt::test

#endif
