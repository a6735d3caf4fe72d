// Which CPU features this machine offers, by LLVM's names, with the operating
// system's part (saved vector state) included.
#ifndef LLMOPT_RT_CPU_H
#define LLMOPT_RT_CPU_H

#include "llmopt/runtime.h"

namespace llmopt::rt {

/// What the CPU and the system said, as raw words; tests make their own.
struct CpuWords {
  enum Word {
#if defined(__x86_64__)
    Leaf1Ecx,
    Leaf1Edx,
    Leaf7Ebx,
    Leaf7Ecx,
    Leaf7Edx,
    Leaf7Sub1Eax,
    Leaf7Sub1Edx,
    ExtendedEcx,
    ExtendedEdx,
    Xcr0,
#elif defined(__aarch64__)
    Hwcap,
    Hwcap2,
#endif
    NumWords
  };
  uint64_t words[NumWords + 1];
};

CpuWords readCpuWords();

enum class CpuSupport { Present, Missing, Unknown };

/// `name` need not be terminated.
CpuSupport cpuSupport(const CpuWords &cpu, const char *name, size_t length);

/// `required` is the comma-separated list of an artefact, with or without '+';
/// the message names every feature that is not there.
llmopt_status checkCpuFeatures(const CpuWords &cpu, const char *required, llmopt_error *error);

/// Asks the system for what a process must request before use (AMX tiles).
llmopt_status requestCpuState(const char *required, llmopt_error *error);

} // namespace llmopt::rt

#endif
