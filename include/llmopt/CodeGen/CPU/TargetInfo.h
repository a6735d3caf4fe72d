// What the kernel generators need to know about the machine they write for.
//
// A target is a *level* (plain 128-bit vectors, NEON, x86-64-v3, x86-64-v4),
// not a CPU model: `native` and named CPUs resolve to the best level whose
// features they all have, so that the list of required features in an artefact
// stays short, and two machines of one level get the same kernels. The CPU's
// name still selects the instruction scheduling model.
#ifndef LLMOPT_CODEGEN_CPU_TARGETINFO_H
#define LLMOPT_CODEGEN_CPU_TARGETINFO_H

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace llvm {
class TargetMachine;
}

namespace llmopt::cpu {

enum class Isa { Baseline, Neon, Avx2, Avx512 };

struct TargetInfo {
  std::string triple;
  std::string cpu;      // LLVM's name of the level: "x86-64-v4", "generic"
  std::string tuneCpu;  // scheduling model
  std::string features; // LLVM feature string on top of `cpu`: "+avx512vnni"
  /// What the CPU must have, comma separated LLVM names
  /// (llmopt_model_desc::cpu_features).
  std::string requiredFeatures;
  Isa isa = Isa::Baseline;
  int64_t lanes = 4;   // f32 per vector
  bool hasFma = false; // a fused multiply-add instruction

  /// The fp32 GEMM register tile: gemmMR rows x gemmNRVectors vectors.
  int64_t gemmMR = 4;
  int64_t gemmNRVectors = 2;
  int64_t gemmNR() const { return gemmNRVectors * lanes; }
  /// Reduction steps per block: a packed B panel slice stays in the L1 cache.
  /// A multiple of gemmNR().
  int64_t gemmKC = 384;

  std::unique_ptr<llvm::TargetMachine> createTargetMachine() const;
};

/// `triple` empty: the host. `mcpu` empty or "native": the host CPU. On failure
/// returns nothing and says why in `error`.
std::optional<TargetInfo> resolveTarget(const std::string &triple,
                                        const std::string &mcpu,
                                        std::string &error);

/// Whether code for `target` can run in this process.
bool runsOnHost(const TargetInfo &target);

} // namespace llmopt::cpu
#endif
