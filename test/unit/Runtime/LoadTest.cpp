// Artefacts as files: good ones, and every way they can be wrong.
#include "Artefacts.h"
#include "ModelBuilder.h"

#include <csignal>
#include <cstring>
#include <elf.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace llmopt::test;

namespace {
class Load : public InDirectory {
protected:
  /// Loads m.so; "" or the message, which must be one line.
  std::string load(llmopt_load_options options = {}, const std::string &file = "m.so") {
    llmopt_model *model = nullptr;
    llmopt_error error = {};
    options.struct_size = sizeof(options);
    status = llmopt_model_load(path(file).c_str(), &options, &model, &error);
    EXPECT_EQ(status == LLMOPT_OK, model != nullptr);
    EXPECT_EQ(strchr(error.message, '\n'), nullptr);
    if (status == LLMOPT_OK)
      compute(model);
    llmopt_model_destroy(model);
    return status ? error.message : "";
  }

  void expectFailure(llmopt_status expected, const std::string &part, llmopt_load_options options = {}) {
    std::string message = load(options);
    EXPECT_EQ(status, expected) << message;
    EXPECT_NE(message.find(part), std::string::npos) << "expected '" << part << "' in '" << message << "'";
  }

  /// The model does what it should.
  static void compute(llmopt_model *model) {
    for (uint32_t threads : {1u, 2u}) {
      llmopt_session_options options = {sizeof(options), threads, 0};
      llmopt_session *session = nullptr;
      ASSERT_EQ(llmopt_session_create(model, &options, &session, nullptr), LLMOPT_OK);
      llmopt_tensor_type t = type(LLMOPT_F32, {3, 4});
      ASSERT_EQ(llmopt_session_bind(session, &t, 1, nullptr), LLMOPT_OK);
      std::vector<float> x = {1, 1, 1, 1, -1, 0, 1, 2, 5, 5, 5, 5}, y(12), s(4);
      llmopt_input input = in(x);
      llmopt_output outputs[] = {out(y), out(s)};
      ASSERT_EQ(llmopt_session_run(session, &input, 1, outputs, 2, nullptr), LLMOPT_OK);
      EXPECT_EQ(y, std::vector<float>({0, 1, 2, 3, 0, 0, 2, 7, 4, 9, 14, 19}));
      EXPECT_EQ(s, std::vector<float>({1, 2, 3, 4}));
      llmopt_session_destroy(session);
    }
  }

  llmopt_status status = LLMOPT_OK;
};
} // namespace

TEST_F(Load, MapAndCopy) {
  writePair();
  for (uint32_t mode : {LLMOPT_LOAD_MAP, LLMOPT_LOAD_COPY})
    for (uint32_t check : {0u, 1u}) {
      llmopt_load_options options = {};
      options.load_mode = mode;
      options.check_hash = check;
      EXPECT_EQ(load(options), "");
    }
}

TEST_F(Load, CopiedWeightsSurviveTruncation) {
  writePair();
  llmopt_load_options options = {};
  options.struct_size = sizeof(options);
  options.load_mode = LLMOPT_LOAD_COPY;
  llmopt_model *model = nullptr;
  ASSERT_EQ(llmopt_model_load(path("m.so").c_str(), &options, &model, nullptr), LLMOPT_OK);
  ASSERT_EQ(truncate(path("m.weights").c_str(), 0), 0);
  compute(model);
  EXPECT_EQ(llmopt_model_check(model, nullptr), LLMOPT_OK);
  llmopt_model_destroy(model);
}

TEST_F(Load, Info) {
  writePair();
  llmopt_model *model = nullptr;
  ASSERT_EQ(llmopt_model_load(path("m.so").c_str(), nullptr, &model, nullptr), LLMOPT_OK);
  llmopt_model_info info = {};
  info.struct_size = sizeof(info);
  ASSERT_EQ(llmopt_model_get_info(model, &info, nullptr), LLMOPT_OK);
  EXPECT_STREQ(info.name, "affine");
  EXPECT_STREQ(info.metadata, "{\"source\": \"affine.onnx\"}");
  EXPECT_EQ(info.num_steps, 2u);
  EXPECT_EQ(info.weights_size, dataSize);
  EXPECT_EQ(memcmp(info.build_id, buildId, 16), 0);
  EXPECT_NE(std::string(info.weights_path).find("m.weights"), std::string::npos);
  // A caller that knows only the beginning gets only that.
  llmopt_model_info beginning;
  memset(&beginning, 0x55, sizeof(beginning));
  beginning.struct_size = offsetof(llmopt_model_info, compiler);
  ASSERT_EQ(llmopt_model_get_info(model, &beginning, nullptr), LLMOPT_OK);
  EXPECT_STREQ(beginning.name, "affine");
  EXPECT_EQ(beginning.num_steps, 0x55555555u);
  beginning.struct_size = 0;
  EXPECT_EQ(llmopt_model_get_info(model, &beginning, nullptr), LLMOPT_INVALID_ARGUMENT);

  char text[64];
  EXPECT_EQ(llmopt_model_format_input(model, 0, text, sizeof(text)), 13u);
  EXPECT_STREQ(text, "f32[batch, 4]");
  EXPECT_EQ(llmopt_model_format_input(model, 0, text, 8), 13u);
  EXPECT_STREQ(text, "f32[bat");
  EXPECT_EQ(llmopt_model_format_input(model, 0, nullptr, 0), 13u);
  EXPECT_EQ(llmopt_model_find_output(model, "s"), 1u);
  EXPECT_EQ(llmopt_model_find_output(model, "x"), LLMOPT_NONE);
  EXPECT_STREQ(llmopt_model_get_symbol(model, 0), "batch");
  EXPECT_EQ(llmopt_model_get_symbol(model, 1), nullptr);
  const char *name = nullptr;
  llmopt_tensor_type t;
  ASSERT_EQ(llmopt_model_get_output(model, 0, &name, &t, nullptr), LLMOPT_OK);
  EXPECT_STREQ(name, "y");
  EXPECT_EQ(t.dims[0], -1);
  EXPECT_EQ(t.dims[1], 4);
  llmopt_weight_info weight = {};
  weight.struct_size = sizeof(weight);
  ASSERT_EQ(llmopt_model_get_weight(model, 1, &weight, nullptr), LLMOPT_OK);
  EXPECT_STREQ(weight.name, "b");
  EXPECT_STREQ(weight.recipe, "slice(bias, 0, 4)");
  EXPECT_EQ(static_cast<const float *>(weight.data)[3], -1);
  llmopt_model_destroy(model);
}

TEST_F(Load, WeightsAreFoundBesideTheLinkThenBesideItsTarget) {
  writePair();
  ASSERT_EQ(symlink("m.so", path("link.so").c_str()), 0);
  EXPECT_EQ(load({}, "link.so"), "");
  // Beside the link wins: these belong to another build.
  uint8_t other[16] = {99};
  write("link.weights", weightsFile(weightData(), 256, other));
  EXPECT_NE(load({}, "link.so"), "");
  EXPECT_EQ(status, LLMOPT_BAD_WEIGHTS);
}

TEST_F(Load, WeightsPathOverrides) {
  write("m.so", artefact("affine"));
  std::string elsewhere = write("elsewhere", weightsFile(weightData(), 4096));
  llmopt_load_options options = {};
  options.weights_path = elsewhere.c_str();
  EXPECT_EQ(load(options), "");
  expectFailure(LLMOPT_NOT_FOUND, "m.weights: weights file: No such file");
}

TEST_F(Load, EmbeddedTail) {
  std::string so = artefact("affine");
  so.resize((so.size() + 4095) / 4096 * 4096);
  uint64_t position = so.size();
  so += weightsFile(weightData(), 4096);
  so.append(reinterpret_cast<char *>(&position), 8);
  so += LLMOPT_WEIGHTS_MAGIC;
  write("m.so", so);
  for (uint32_t mode : {LLMOPT_LOAD_MAP, LLMOPT_LOAD_COPY}) {
    llmopt_load_options options = {};
    options.load_mode = mode;
    options.check_hash = 1;
    EXPECT_EQ(load(options), "");
  }
  // Positions that point outside, at nothing, or just before the end.
  for (uint64_t bad : {uint64_t(0), UINT64_MAX, uint64_t(1) << 40, uint64_t(so.size()), uint64_t(4096), uint64_t(256),
                       uint64_t(so.size() / 256 * 256)}) {
    std::string damaged = so;
    memcpy(&damaged[damaged.size() - 16], &bad, 8);
    write("m.so", damaged);
    expectFailure(LLMOPT_BAD_WEIGHTS, "");
  }
  // The tail cut short: no magic at the end, no file beside.
  write("m.so", so.substr(0, so.size() - 100));
  expectFailure(LLMOPT_NOT_FOUND, "m.weights");
}

TEST_F(Load, FilesThatAreNoArtefacts) {
  expectFailure(LLMOPT_NOT_FOUND, "m.so: No such file");
  write("m.so", "");
  expectFailure(LLMOPT_BAD_MODEL, "no ELF header");
  write("m.so", "hello");
  expectFailure(LLMOPT_BAD_MODEL, "no ELF header");
  write("m.so", std::string("\177ELF"));
  expectFailure(LLMOPT_BAD_MODEL, "truncated");
  write("m.so", readFile("/proc/self/exe"));
  expectFailure(LLMOPT_BAD_MODEL, "is not a compiled model");
  write("m.so", artefact("nosymbol"));
  expectFailure(LLMOPT_BAD_MODEL, "does not export llmopt_model_v1");
  // Passes the look at the names, not the loader's.
  write("m.so", artefact("longsymbol"));
  expectFailure(LLMOPT_BAD_MODEL, "does not export llmopt_model_v1");
  unlink(path("m.so").c_str());
  ASSERT_EQ(mkdir(path("m.so").c_str(), 0700), 0);
  expectFailure(LLMOPT_IO_ERROR, "expected a regular file");
  rmdir(path("m.so").c_str());
  ASSERT_EQ(mkfifo(path("m.so").c_str(), 0600), 0);
  expectFailure(LLMOPT_IO_ERROR, "expected a regular file");
}

TEST_F(Load, TruncatedArtefacts) {
  writePair();
  std::string so = artefact("affine");
  for (size_t size = 0; size < so.size(); size += 61) {
    write("m.so", so.substr(0, size));
    EXPECT_NE(load(), "") << size << " of " << so.size() << " bytes";
    EXPECT_EQ(status, LLMOPT_BAD_MODEL) << size;
  }
}

/// How a child that loads the artefact ends: 0 or 1 by itself, a signal otherwise.
static int loadInChild(const std::string &path) {
  pid_t child = fork();
  if (child == 0) {
    signal(SIGALRM, SIG_DFL);
    alarm(10);
    llmopt_model *model = nullptr;
    bool ok = llmopt_model_load(path.c_str(), nullptr, &model, nullptr) == LLMOPT_OK;
    _exit(ok ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/// Any byte of what the dynamic loader reads, changed: a status, never a signal.
TEST_F(Load, DamagedHeaders) {
  writePair();
  std::string so = artefact("affine");
  const auto *header = reinterpret_cast<const Elf64_Ehdr *>(so.data());
  const auto *segments = reinterpret_cast<const Elf64_Phdr *>(so.data() + header->e_phoff);
  std::vector<std::pair<size_t, size_t>> parts{{0, sizeof(Elf64_Ehdr)},
                                               {header->e_phoff, header->e_phnum * sizeof(Elf64_Phdr)},
                                               {header->e_shoff, header->e_shnum * sizeof(Elf64_Shdr)}};
  for (int i = 0; i < header->e_phnum; ++i)
    if (segments[i].p_type == PT_DYNAMIC)
      parts.push_back({segments[i].p_offset, segments[i].p_filesz});
  unsigned refused = 0, tried = 0;
  for (auto [offset, size] : parts)
    // Of sections, which no loader reads, a sample.
    for (size_t i = offset; i < offset + size; i += offset == header->e_shoff ? 7 : 1)
      for (unsigned char flip : {0xff, 0x01}) {
        std::string damaged = so;
        damaged[i] ^= flip;
        write("m.so", damaged);
        int end = loadInChild(path("m.so"));
        ASSERT_LE(end, 1) << "byte " << i << " ^ " << int(flip);
        refused += end;
        ++tried;
      }
  EXPECT_GT(refused, tried / 10);
}

TEST_F(Load, OtherMachines) {
  writePair();
  std::string so = artefact("affine");
  Elf64_Ehdr *header = reinterpret_cast<Elf64_Ehdr *>(&so[0]);
  unsigned own = header->e_machine;
  header->e_machine = own == EM_X86_64 ? EM_AARCH64 : EM_X86_64;
  write("m.so", so);
  expectFailure(LLMOPT_UNSUPPORTED_CPU, own == EM_X86_64 ? "expected code for x86-64, but "
                                                           "got code for aarch64"
                                                         : "but got code for x86-64");
  header->e_machine = 4242;
  write("m.so", so);
  expectFailure(LLMOPT_UNSUPPORTED_CPU, "another machine");
  header->e_ident[EI_CLASS] = ELFCLASS32;
  write("m.so", so);
  expectFailure(LLMOPT_BAD_MODEL, "64-bit");
}

TEST_F(Load, OtherVersions) {
  writePair(artefact("otherabi"));
  expectFailure(LLMOPT_BAD_MODEL, "expected ABI version 2, but got 1");
  writePair(artefact("shortdesc"));
  expectFailure(LLMOPT_BAD_MODEL, "but got 64");
  // Longer and older descriptors are fine.
  writePair(artefact("longdesc"));
  EXPECT_EQ(load(), "");
  writePair(artefact("olddesc"));
  EXPECT_EQ(load(), "");
}

TEST_F(Load, MissingFeatures) {
  writePair(artefact("unknownfeature"));
  expectFailure(LLMOPT_UNSUPPORTED_CPU, "'quantum'");
  writePair(artefact("otherfeature")); // of two machines at once
  expectFailure(LLMOPT_UNSUPPORTED_CPU, "the artefact needs");
}

TEST_F(Load, DamagedTables) {
  writePair(artefact("badexpr"));
  expectFailure(LLMOPT_BAD_MODEL, "damaged model tables: output 0");
  writePair(artefact("badweight"));
  expectFailure(LLMOPT_BAD_MODEL, "damaged model tables: weight 1");
}

TEST_F(Load, DamagedWeights) {
  std::string good = weightsFile(weightData());
  writePair();
  for (size_t size : {0u, 1u, 63u, 64u, 255u, 256u, 400u, 527u}) {
    write("m.weights", good.substr(0, size));
    expectFailure(LLMOPT_BAD_WEIGHTS, "truncated");
  }
  // Every byte of the header counts.
  for (size_t byte = 0; byte < sizeof(llmopt_weights_header); ++byte) {
    std::string bad = good;
    bad[byte] ^= 0x40;
    write("m.weights", bad);
    expectFailure(LLMOPT_BAD_WEIGHTS, "m.weights: ");
  }
  uint8_t other[16] = {99};
  write("m.weights", weightsFile(weightData(), 256, other));
  expectFailure(LLMOPT_BAD_WEIGHTS, "belong to another build");
  write("m.weights", weightsFile(weightData() + "more"));
  expectFailure(LLMOPT_BAD_WEIGHTS, "expected 272 bytes of weights");
  write("m.weights", weightsFile(weightData(), 320));
  expectFailure(LLMOPT_BAD_WEIGHTS, "data offset 320");
}

TEST_F(Load, DataIsHashedOnRequestOnly) {
  std::string bad = weightsFile(weightData());
  bad[256 + 100] = 1; // between the tensors: changes no result
  writePair(artefact("affine"), bad);
  EXPECT_EQ(load(), "");
  llmopt_load_options options = {};
  options.check_hash = 1;
  expectFailure(LLMOPT_BAD_WEIGHTS, "expected hash", options);
}

TEST_F(Load, OptionsAreChecked) {
  writePair();
  llmopt_load_options options = {};
  options.load_mode = 7;
  expectFailure(LLMOPT_INVALID_ARGUMENT, "load_mode 7", options);
  llmopt_model *model = nullptr;
  llmopt_load_options unsized = {};
  EXPECT_EQ(llmopt_model_load(path("m.so").c_str(), &unsized, &model, nullptr), LLMOPT_INVALID_ARGUMENT);
  EXPECT_EQ(llmopt_model_load(nullptr, nullptr, &model, nullptr), LLMOPT_INVALID_ARGUMENT);
  EXPECT_EQ(llmopt_model_load(path("m.so").c_str(), nullptr, nullptr, nullptr), LLMOPT_INVALID_ARGUMENT);
  EXPECT_EQ(model, nullptr);
}

TEST_F(Load, RelativePathsAreNotSearchedFor) {
  // A bare name means the working directory, never the loader's search path.
  llmopt_model *model = nullptr;
  llmopt_error error;
  EXPECT_EQ(llmopt_model_load("libc.so.6", nullptr, &model, &error), LLMOPT_NOT_FOUND);
}

TEST_F(Load, LongNamesAreCutInsideMessages) {
  std::string longName;
  for (int i = 0; i < 400; ++i)
    longName += "\xC3\xA4"; // two bytes each
  llmopt_model *model = nullptr;
  llmopt_error error;
  EXPECT_NE(llmopt_model_load(("/" + longName).c_str(), nullptr, &model, &error), LLMOPT_OK);
  std::string message = error.message;
  EXPECT_LT(message.size(), sizeof(error.message));
  ASSERT_EQ(message.substr(message.size() - 3), "...");
  EXPECT_EQ((unsigned char)message[message.size() - 4], 0xA4);
}
