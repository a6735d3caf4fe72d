#include "cpu.h"
#include "common.h"

#include <gtest/gtest.h>
#include <string>

using namespace llmopt::rt;

namespace {
CpuSupport support(const CpuWords &cpu, const char *name) { return cpuSupport(cpu, name, strlen(name)); }
} // namespace

TEST(Cpu, EmptyListIsFine) {
  CpuWords none = {};
  for (const char *list : {"", ",", " , ", "+"})
    EXPECT_EQ(checkCpuFeatures(none, list, nullptr), LLMOPT_OK) << list;
}

TEST(Cpu, UnknownName) {
  llmopt_error error;
  EXPECT_EQ(checkCpuFeatures(readCpuWords(), "warp-drive", &error), LLMOPT_UNSUPPORTED_CPU);
  EXPECT_NE(std::string(error.message).find("'warp-drive'"), std::string::npos);
}

#if defined(__x86_64__)
TEST(Cpu, AgreesWithTheCompilersOwnDetection) {
  CpuWords cpu = readCpuWords();
  __builtin_cpu_init();
#define AGREES(gcc, llvm) EXPECT_EQ(__builtin_cpu_supports(gcc) != 0, support(cpu, llvm) == CpuSupport::Present) << llvm
  AGREES("sse2", "sse2");
  AGREES("ssse3", "ssse3");
  AGREES("sse4.1", "sse4.1");
  AGREES("popcnt", "popcnt");
  AGREES("avx", "avx");
  AGREES("avx2", "avx2");
  AGREES("fma", "fma");
  AGREES("bmi", "bmi");
  AGREES("bmi2", "bmi2");
  AGREES("avx512f", "avx512f");
  AGREES("avx512dq", "avx512dq");
  AGREES("avx512cd", "avx512cd");
  AGREES("avx512bw", "avx512bw");
  AGREES("avx512vl", "avx512vl");
  AGREES("avx512vbmi", "avx512vbmi");
  AGREES("avx512vnni", "avx512vnni");
  AGREES("avx512bf16", "avx512bf16");
  AGREES("gfni", "gfni");
#undef AGREES
  EXPECT_EQ(support(cpu, "64bit"), CpuSupport::Present);
}

TEST(Cpu, TheOperatingSystemMustSaveTheState) {
  // A CPU with everything, and systems that enabled less and less of it.
  CpuWords cpu;
  for (uint64_t &word : cpu.words)
    word = UINT64_MAX;
  EXPECT_EQ(support(cpu, "avx512f"), CpuSupport::Present);
  EXPECT_EQ(support(cpu, "amx-int8"), CpuSupport::Present);
  cpu.words[CpuWords::Xcr0] = 0xE7;
  EXPECT_EQ(support(cpu, "avx512vnni"), CpuSupport::Present);
  EXPECT_EQ(support(cpu, "amx-int8"), CpuSupport::Missing);
  cpu.words[CpuWords::Xcr0] = 0x07;
  EXPECT_EQ(support(cpu, "avx512f"), CpuSupport::Missing);
  EXPECT_EQ(support(cpu, "avx2"), CpuSupport::Present);
  EXPECT_EQ(support(cpu, "avxvnni"), CpuSupport::Present);
  cpu.words[CpuWords::Xcr0] = 0x03;
  EXPECT_EQ(support(cpu, "fma"), CpuSupport::Missing);
  EXPECT_EQ(support(cpu, "f16c"), CpuSupport::Missing);
  EXPECT_EQ(support(cpu, "bmi2"), CpuSupport::Present);
}

TEST(Cpu, AllMissingFeaturesAreNamed) {
  CpuWords none = {};
  llmopt_error error;
  EXPECT_EQ(checkCpuFeatures(none, "+avx2, +fma,avx512vnni", &error), LLMOPT_UNSUPPORTED_CPU);
  EXPECT_NE(std::string(error.message).find("avx2, fma, avx512vnni"), std::string::npos) << error.message;
}
#endif
