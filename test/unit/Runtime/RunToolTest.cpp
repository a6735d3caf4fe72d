// llmopt-run as a user meets it: output, exit codes, one line per problem.
#include "Artefacts.h"

#include <algorithm>
#include <cstdio>
#include <sys/stat.h>
#include <sys/wait.h>

using namespace llmopt::test;

namespace {
/// A .npy file of f32 values as numpy writes it.
std::string npy(const std::string &descr, const std::string &shape, const std::string &data,
                const std::string &order = "False", int version = 1) {
  std::string header = "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': (" + shape + "), }";
  size_t prefix = version == 1 ? 10 : 12;
  header.resize((prefix + header.size() + 64) / 64 * 64 - prefix - 1, ' ');
  header += '\n';
  std::string file = "\x93NUMPY";
  file += char(version);
  file += '\0';
  file += char(header.size() & 255);
  file += char(header.size() >> 8);
  if (version > 1)
    file.append(2, '\0');
  return file + header + data;
}

std::string floats(const std::vector<float> &values) {
  return {reinterpret_cast<const char *>(values.data()), values.size() * sizeof(float)};
}

class RunTool : public InDirectory {
protected:
  void SetUp() override {
    InDirectory::SetUp();
    writePair();
    write("x.npy", npy("<f4", "2, 4", floats({1, 1, 1, 1, -1, 0, 1, 2})));
  }

  /// Runs with the directory as working directory; what it printed is in `text`.
  int run(const std::string &arguments, const std::string &before = "") {
    std::string command = "cd " + directory + " && " + before + LLMOPT_RUN " " + arguments + " 2>&1";
    text.clear();
    FILE *pipe = popen(command.c_str(), "r");
    char buffer[4096];
    while (size_t n = fread(buffer, 1, sizeof(buffer), pipe))
      text.append(buffer, n);
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void expectFailure(int code, const std::string &arguments, const std::string &message,
                     const std::string &before = "") {
    EXPECT_EQ(run(arguments, before), code) << arguments << "\n" << text;
    EXPECT_EQ(text, "llmopt-run: " + message + "\n");
  }
  std::vector<std::string> files() {
    std::vector<std::string> names;
    DIR *d = opendir(directory.c_str());
    while (dirent *entry = readdir(d))
      if (entry->d_name[0] != '.')
        names.push_back(entry->d_name);
    closedir(d);
    std::sort(names.begin(), names.end());
    return names;
  }

  std::string text;
};
} // namespace

TEST_F(RunTool, PrintsOutputs) {
  const char *expected = "y: f32[2, 4] min 0 max 7 [0, 1, 2, 3, 0, 0, 2, 7]\n"
                         "s: f32[4] min 1 max 4 [1, 2, 3, 4]\n";
  for (const char *arguments :
       {"m.so --input x=x.npy", "m.so -input=x.npy -threads=1", "--threads 2 --input x.npy -- m.so",
        "m.so --input x=x.npy --load=copy --weights ./m.weights"}) {
    EXPECT_EQ(run(arguments), 0) << text;
    EXPECT_EQ(text, expected) << arguments;
  }
}

TEST_F(RunTool, WritesNpzThatItCanRead) {
  EXPECT_EQ(run("m.so --input x=x.npy --output out.npz"), 0) << text;
  EXPECT_EQ(text, "");
  std::string first = readFile(path("out.npz"));
  EXPECT_EQ(run("m.so --input x=x.npy --output out.npz"), 0) << text;
  EXPECT_EQ(readFile(path("out.npz")), first);
  // The arrays are called y and s, where the model wants x.
  expectFailure(1, "m.so --input out.npz",
                "input 'x': expected f32[batch, 4], but the files have only "
                "'y', 's'");
  EXPECT_EQ(files(), (std::vector<std::string>{"m.so", "m.weights", "out.npz", "x.npy"}));
  struct stat info;
  ASSERT_EQ(stat(path("out.npz").c_str(), &info), 0);
  EXPECT_EQ(
      info.st_mode & 0444, 0444u & ~[] {
        mode_t mask = umask(0);
        umask(mask);
        return mask;
      }());
}

TEST_F(RunTool, DamagedZips) {
  ASSERT_EQ(run("m.so --input x=x.npy --output out.npz"), 0);
  // Outputs as inputs: y gets the name x, in the entry and in the directory.
  std::string good = readFile(path("out.npz"));
  for (size_t at; (at = good.find("y.npy")) != std::string::npos;)
    good[at] = 'x';
  write("good.npz", good);
  ASSERT_EQ(run("m.so --input good.npz"), 0) << text;
  std::string expected = text;
  int refused = 0;
  for (size_t i = 0; i < good.size(); i += 5) {
    std::string bad = good;
    bad[i] ^= 0x21;
    write("bad.npz", bad);
    // Some bytes, such as dates, mean nothing to us.
    int code = run("m.so --input bad.npz");
    refused += code == 1;
    EXPECT_TRUE(code == 1 || (code == 0 && text == expected)) << i << "\n" << text;
    EXPECT_TRUE(code == 0 || std::count(text.begin(), text.end(), '\n') == 1) << text;
  }
  EXPECT_GT(refused, 20);
  for (size_t size = 0; size < good.size(); size += 50) {
    write("bad.npz", good.substr(0, size));
    EXPECT_EQ(run("m.so --input bad.npz"), 1) << text;
  }
}

TEST_F(RunTool, NpyHeaders) {
  std::string data = floats({1, 1, 1, 1});
  const char *fine = "y: f32[1, 4] min 0 max 3 [0, 1, 2, 3]\n"
                     "s: f32[4] min 1 max 4 [1, 2, 3, 4]\n";
  for (const std::string &file : {npy("<f4", "1, 4", data), npy("=f4", "1,4,", data), npy("<f4", "1L, 4L", data),
                                  npy("<f4", "1, 4", data, "False", 2), npy("<f4", "1, 4", data, "False", 3),
                                  // One row is the same bytes in both orders.
                                  npy("<f4", "1, 4", data, "True")}) {
    write("n.npy", file);
    EXPECT_EQ(run("m.so --input x=n.npy"), 0);
    EXPECT_EQ(text, fine);
  }
  auto refused = [&](const std::string &file, const std::string &message) {
    write("n.npy", file);
    expectFailure(1, "m.so --input x=n.npy", message);
  };
  refused("", "n.npy: is no .npy array");
  refused("not numpy at all", "n.npy: is no .npy array");
  refused(npy("<f4", "1, 4", data).substr(0, 40), "n.npy: the .npy header is damaged");
  refused(npy("<f4", "1, 4", data).substr(0, 130), "n.npy: f32[1, 4] needs 16 bytes, but the file has 2");
  refused(npy("<f4", "2, 4", data), "n.npy: f32[2, 4] needs 32 bytes, but the file has 16");
  refused(npy("<f4", "4611686018427387904, 4", data),
          "n.npy: f32[4611686018427387904, 4] needs too many bytes, but the "
          "file has 16");
  refused(npy("<f4", "99999999999999999999", data), "n.npy: the .npy header is damaged");
  refused(npy("<f4", "-1, 4", data), "n.npy: the .npy header is damaged");
  refused(npy(">f4", "1, 4", data), "n.npy: expected little-endian data, but got '>f4'; convert with "
                                    ".astype('<f4')");
  refused(npy("<c8", "1, 2", data), "n.npy: the element type '<c8' is not supported");
  refused(npy("<f4", "2, 2", data, "True"), "n.npy: is in Fortran order; save numpy.ascontiguousarray(x) instead");
  refused(npy("<f4", "1, 4", data, "False", 9), "n.npy: expected .npy version 1 to 3, but got 9");
  refused(npy("<f4", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,4", data), "n.npy: expected at most 16 dimensions, but got 17");
  refused(npy("<i4", "1, 4", data), "input 'x': expected f32[batch, 4], but got i32[1, 4]");
  refused(npy("<f4", "4", data), "input 'x': expected f32[batch, 4], but got f32[4]");
  refused(npy("<f4", "2, 2", data), "input 'x', dimension 1: expected 4, but got 2");
}

TEST_F(RunTool, Bench) {
  EXPECT_EQ(run("m.so --bench --shape batch=3 --seconds 0 --runs 5 --warmup 0 "
                "--threads 2 --json"),
            0);
  double median, least, most;
  int runs, threads;
  EXPECT_EQ(sscanf(text.c_str(),
                   "{\"median_ms\": %lf, \"min_ms\": %lf, \"max_ms\": %lf, "
                   "\"runs\": %d, \"threads\": %d, \"inputs\": \"synthetic\"}",
                   &median, &least, &most, &runs, &threads),
            5)
      << text;
  EXPECT_EQ(runs, 5);
  EXPECT_EQ(threads, 2);
  EXPECT_LE(least, median);
  EXPECT_LE(median, most);
  EXPECT_EQ(run("m.so --bench --input x=x.npy --seconds 0"), 0);
  EXPECT_EQ(text.find("synthetic"), std::string::npos);
  EXPECT_EQ(run("m.so --profile --shape=batch=3 --seconds 0"), 0);
  EXPECT_NE(text.find("synthetic: integers 1"), std::string::npos) << text;
  EXPECT_NE(text.find("Mul_0 + Add_1"), std::string::npos) << text;
}

TEST_F(RunTool, InfoAndCheck) {
  EXPECT_EQ(run("m.so --info --check --shape batch=16"), 0);
  for (const char *part :
       {"input     x: f32[batch, 4]\n", "output    s: f32[4]\n", "symbols   batch\n", "2 tensors, 272 bytes",
        "match their hash", "arena     256 bytes", "{\"source\": \"affine.onnx\"}"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
  std::string bad = weightsFile(weightData());
  bad[300] ^= 1;
  write("m.weights", bad);
  EXPECT_EQ(run("m.so --check"), 1);
  EXPECT_NE(text.find("the weights are damaged: expected hash"), std::string::npos);
}

TEST_F(RunTool, UsageErrors) {
  expectFailure(2, "", "expected a model; see llmopt-run --help");
  expectFailure(2, "m.so",
                "expected --input FILE.npz, or --bench with --shape; --info "
                "lists the inputs");
  expectFailure(2, "m.so --thread 3", "unknown option '--thread'; did you mean '--threads'?");
  expectFailure(2, "m.so --frobnicate", "unknown option '--frobnicate'; see llmopt-run --help");
  expectFailure(2, "m.so --bench",
                "the size 'batch' is open: expected --input, or --shape "
                "batch=N");
  expectFailure(2, "m.so --bench --shape rows=3", "--shape: expected values for 'batch', but got 'rows'");
  expectFailure(2, "m.so --bench --shape batch=-3",
                "--shape: expected a number from 0 to 9223372036854775807, but "
                "got '-3'");
  expectFailure(2, "m.so --input x=x.npy --output o.npy",
                "--output o.npy: expected FILE.npz, as the model has 2 outputs");
  expectFailure(2, "m.so --input x=x.npy --output /dev/null", "/dev/null: expected a regular file as output");
  EXPECT_EQ(run("--help"), 0);
  EXPECT_NE(text.find("usage: llmopt-run model.so"), std::string::npos);
}

TEST_F(RunTool, BadModelsAndData) {
  expectFailure(1, "no.so --info", "no.so: No such file or directory");
  expectFailure(1, "x.npy --info", "x.npy: is not a compiled model: no ELF header");
  expectFailure(1, "m.so --input y=x.npy", "--input y=x.npy: expected one of the inputs 'x', but got 'y'");
  expectFailure(1, "m.so --input no.npz", "no.npz: No such file or directory");
  expectFailure(1, "m.so --input m.so", "m.so: is no .npz file: Not a zip archive");
  expectFailure(1, "m.so --weights x.npy --info", "x.npy: is not a weights file of llmopt");
  write("other.so", artefact("otherfeature"));
  EXPECT_EQ(run("other.so --info"), 4) << text;
}

TEST_F(RunTool, AFullDiskLeavesNothingBehind) {
  std::vector<float> rows(40000);
  write("big.npy", npy("<f4", "10000, 4", floats(rows)));
  std::vector<std::string> before = files();
  for (const char *name : {"out.npz", "out"}) {
    EXPECT_EQ(run(std::string("m.so --input x=big.npy --output ") + name, "ulimit -f 16 && "), 4);
    EXPECT_EQ(text.find("llmopt-run: " + std::string(name) + ": cannot be written: "), 0u) << text;
    EXPECT_EQ(files(), before);
  }
  EXPECT_EQ(run("m.so --input x=big.npy > /dev/full"), 4);
}
