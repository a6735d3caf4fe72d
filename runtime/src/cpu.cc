#include "cpu.h"

#include "common.h"

#include <cerrno>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

using namespace llmopt::rt;

namespace {
struct Feature {
  const char *name;
  CpuWords::Word word;
  uint8_t bit;
  uint32_t state; ///< bits of XCR0 that the system must have enabled
};

#if defined(__x86_64__)
constexpr uint32_t ymm = 0x06;       // SSE and AVX state
constexpr uint32_t zmm = ymm | 0xE0; // opmask, upper ZMM, ZMM16-31
constexpr uint32_t amx = 0x60000;    // tile configuration and data

// Bit positions: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E.
constexpr Feature features[] = {
    {"x87", CpuWords::Leaf1Edx, 0, 0},
    {"cx8", CpuWords::Leaf1Edx, 8, 0},
    {"cmov", CpuWords::Leaf1Edx, 15, 0},
    {"mmx", CpuWords::Leaf1Edx, 23, 0},
    {"fxsr", CpuWords::Leaf1Edx, 24, 0},
    {"sse", CpuWords::Leaf1Edx, 25, 0},
    {"sse2", CpuWords::Leaf1Edx, 26, 0},
    {"sse3", CpuWords::Leaf1Ecx, 0, 0},
    {"pclmul", CpuWords::Leaf1Ecx, 1, 0},
    {"ssse3", CpuWords::Leaf1Ecx, 9, 0},
    {"fma", CpuWords::Leaf1Ecx, 12, ymm},
    {"cx16", CpuWords::Leaf1Ecx, 13, 0},
    {"sse4.1", CpuWords::Leaf1Ecx, 19, 0},
    {"sse4.2", CpuWords::Leaf1Ecx, 20, 0},
    {"crc32", CpuWords::Leaf1Ecx, 20, 0},
    {"movbe", CpuWords::Leaf1Ecx, 22, 0},
    {"popcnt", CpuWords::Leaf1Ecx, 23, 0},
    {"aes", CpuWords::Leaf1Ecx, 25, 0},
    {"xsave", CpuWords::Leaf1Ecx, 26, 0},
    {"avx", CpuWords::Leaf1Ecx, 28, ymm},
    {"f16c", CpuWords::Leaf1Ecx, 29, ymm},
    {"bmi", CpuWords::Leaf7Ebx, 3, 0},
    {"avx2", CpuWords::Leaf7Ebx, 5, ymm},
    {"bmi2", CpuWords::Leaf7Ebx, 8, 0},
    {"avx512f", CpuWords::Leaf7Ebx, 16, zmm},
    {"avx512dq", CpuWords::Leaf7Ebx, 17, zmm},
    {"adx", CpuWords::Leaf7Ebx, 19, 0},
    {"avx512ifma", CpuWords::Leaf7Ebx, 21, zmm},
    {"avx512cd", CpuWords::Leaf7Ebx, 28, zmm},
    {"avx512bw", CpuWords::Leaf7Ebx, 30, zmm},
    {"avx512vl", CpuWords::Leaf7Ebx, 31, zmm},
    {"avx512vbmi", CpuWords::Leaf7Ecx, 1, zmm},
    {"avx512vbmi2", CpuWords::Leaf7Ecx, 6, zmm},
    {"gfni", CpuWords::Leaf7Ecx, 8, 0},
    {"vaes", CpuWords::Leaf7Ecx, 9, ymm},
    {"vpclmulqdq", CpuWords::Leaf7Ecx, 10, ymm},
    {"avx512vnni", CpuWords::Leaf7Ecx, 11, zmm},
    {"avx512bitalg", CpuWords::Leaf7Ecx, 12, zmm},
    {"avx512vpopcntdq", CpuWords::Leaf7Ecx, 14, zmm},
    {"amx-bf16", CpuWords::Leaf7Edx, 22, amx},
    {"avx512fp16", CpuWords::Leaf7Edx, 23, zmm},
    {"amx-tile", CpuWords::Leaf7Edx, 24, amx},
    {"amx-int8", CpuWords::Leaf7Edx, 25, amx},
    {"avxvnni", CpuWords::Leaf7Sub1Eax, 4, ymm},
    {"avx512bf16", CpuWords::Leaf7Sub1Eax, 5, zmm},
    {"amx-fp16", CpuWords::Leaf7Sub1Eax, 21, amx},
    {"avxifma", CpuWords::Leaf7Sub1Eax, 23, ymm},
    {"avxvnniint8", CpuWords::Leaf7Sub1Edx, 4, ymm},
    {"avxneconvert", CpuWords::Leaf7Sub1Edx, 5, ymm},
    {"avxvnniint16", CpuWords::Leaf7Sub1Edx, 10, ymm},
    {"sahf", CpuWords::ExtendedEcx, 0, 0},
    {"lzcnt", CpuWords::ExtendedEcx, 5, 0},
    {"prfchw", CpuWords::ExtendedEcx, 8, 0},
    {"64bit", CpuWords::ExtendedEdx, 29, 0},
};
#elif defined(__aarch64__)
// Bit positions: Linux, arch/arm64/include/uapi/asm/hwcap.h.
constexpr Feature features[] = {
    {"fp-armv8", CpuWords::Hwcap, 0, 0},  {"neon", CpuWords::Hwcap, 1, 0},     {"aes", CpuWords::Hwcap, 3, 0},
    {"sha2", CpuWords::Hwcap, 6, 0},      {"crc", CpuWords::Hwcap, 7, 0},      {"lse", CpuWords::Hwcap, 8, 0},
    {"fullfp16", CpuWords::Hwcap, 10, 0}, {"rdm", CpuWords::Hwcap, 12, 0},     {"dotprod", CpuWords::Hwcap, 20, 0},
    {"sve", CpuWords::Hwcap, 22, 0},      {"fp16fml", CpuWords::Hwcap, 23, 0}, {"sve2", CpuWords::Hwcap2, 1, 0},
    {"i8mm", CpuWords::Hwcap2, 13, 0},    {"bf16", CpuWords::Hwcap2, 14, 0},
};
#else
constexpr Feature features[] = {{"", CpuWords::NumWords, 0, 0}};
#endif

/// The next name of a comma-separated list, blanks and '+' removed; false at
/// its end.
bool nextName(const char **cursor, const char **name, size_t *length) {
  const char *p = *cursor + std::strspn(*cursor, ", +");
  *name = p;
  *length = std::strcspn(p, ", ");
  *cursor = p + *length;
  return *length != 0;
}
} // namespace

CpuWords llmopt::rt::readCpuWords() {
  CpuWords cpu;
  std::memset(&cpu, 0, sizeof(cpu));
#if defined(__x86_64__)
  unsigned a, b, c, d;
  uint64_t *words = cpu.words;
  if (__get_cpuid(1, &a, &b, &c, &d)) {
    words[CpuWords::Leaf1Ecx] = c;
    words[CpuWords::Leaf1Edx] = d;
    if (c & (1u << 27)) { // OSXSAVE: xgetbv may be executed
      unsigned low, high;
      __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
      words[CpuWords::Xcr0] = uint64_t(high) << 32 | low;
    }
  }
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    words[CpuWords::Leaf7Ebx] = b;
    words[CpuWords::Leaf7Ecx] = c;
    words[CpuWords::Leaf7Edx] = d;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
      words[CpuWords::Leaf7Sub1Eax] = a;
      words[CpuWords::Leaf7Sub1Edx] = d;
    }
  }
  if (__get_cpuid(0x80000001u, &a, &b, &c, &d)) {
    words[CpuWords::ExtendedEcx] = c;
    words[CpuWords::ExtendedEdx] = d;
  }
#elif defined(__aarch64__)
  cpu.words[CpuWords::Hwcap] = getauxval(AT_HWCAP);
  cpu.words[CpuWords::Hwcap2] = getauxval(AT_HWCAP2);
#endif
  return cpu;
}

CpuSupport llmopt::rt::cpuSupport(const CpuWords &cpu, const char *name, size_t length) {
  for (const Feature &feature : features) {
    if (std::strlen(feature.name) != length || std::memcmp(feature.name, name, length) != 0)
      continue;
    bool present = cpu.words[feature.word] >> feature.bit & 1;
#if defined(__x86_64__)
    uint64_t enabled = cpu.words[CpuWords::Xcr0];
    present = present && (enabled & feature.state) == feature.state;
#endif
    return present ? CpuSupport::Present : CpuSupport::Missing;
  }
  return CpuSupport::Unknown;
}

llmopt_status llmopt::rt::checkCpuFeatures(const CpuWords &cpu, const char *required, llmopt_error *error) {
  char missing[256];
  size_t used = 0;
  const char *name;
  size_t length;
  for (const char *cursor = required; nextName(&cursor, &name, &length);) {
    CpuSupport support = cpuSupport(cpu, name, length);
    if (support == CpuSupport::Present)
      continue;
    if (support == CpuSupport::Unknown)
      return fail(error, LLMOPT_UNSUPPORTED_CPU,
                  "the artefact needs the CPU feature '%.*s', which this "
                  "runtime (%s) does not know",
                  int(length), name, llmopt_runtime_version());
    size_t separator = used ? 2 : 0;
    if (used + separator + length + 1 > sizeof(missing))
      continue;
    std::memcpy(missing + used, ", ", separator);
    std::memcpy(missing + used + separator, name, length);
    used += separator + length;
  }
  if (!used)
    return LLMOPT_OK;
  missing[used] = '\0';
  return fail(error, LLMOPT_UNSUPPORTED_CPU,
              "the artefact needs %s, which this CPU or its operating system "
              "does not offer; compile for this machine with -mcpu=native",
              missing);
}

llmopt_status llmopt::rt::requestCpuState(const char *required, llmopt_error *error) {
#if defined(__x86_64__) && defined(SYS_arch_prctl)
  const char *name;
  size_t length;
  for (const char *cursor = required; nextName(&cursor, &name, &length);) {
    if (length < 4 || std::memcmp(name, "amx-", 4) != 0)
      continue;
    constexpr int requestPermission = 0x1023; // ARCH_REQ_XCOMP_PERM
    constexpr int tileData = 18;              // XFEATURE_XTILEDATA
    if (syscall(SYS_arch_prctl, requestPermission, tileData) != 0)
      return fail(error, LLMOPT_UNSUPPORTED_CPU,
                  "the artefact needs AMX tiles, which the operating system "
                  "refuses to this process: %s",
                  ErrnoText(errno).c_str());
    return LLMOPT_OK;
  }
#endif
  return LLMOPT_OK;
}
