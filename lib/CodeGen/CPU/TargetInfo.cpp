// Resolving a triple and a CPU name to a level, and the level's tile sizes.
#include "llmopt/CodeGen/CPU/TargetInfo.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/Triple.h"

#include <mutex>

using namespace llvm;

namespace llmopt::cpu {
namespace {

// The levels of the x86-64 psABI, in LLVM's names, without what SSE2 implies.
constexpr const char *featuresV3[] = {
    "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cx16",  "sahf",  "avx",
    "avx2", "bmi",   "bmi2",   "f16c",   "fma",    "lzcnt", "movbe", "xsave"};
constexpr const char *featuresV4[] = {"avx512f", "avx512bw", "avx512cd",
                                      "avx512dq", "avx512vl"};

void initializeTargets() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeX86AsmParser();
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
    LLVMInitializeAArch64AsmParser();
  });
}

template <typename Names, typename Has>
bool hasAll(const Names &names, Has has) {
  for (const char *name : names)
    if (!has(name))
      return false;
  return true;
}

void append(std::string &list, StringRef name) {
  if (!list.empty())
    list += ',';
  list += name.str();
}

// Has: StringRef -> bool, over LLVM feature names of the named or host CPU.
template <typename Has> void resolveX86(TargetInfo &t, Has has) {
  if (!hasAll(featuresV3, has)) {
    t.isa = Isa::Baseline;
    t.cpu = "x86-64";
    t.requiredFeatures = "sse2";
    t.lanes = 4;
    t.gemmMR = 6; // 12 accumulators of 16 registers
    t.gemmNRVectors = 2;
    return;
  }
  for (const char *name : featuresV3)
    append(t.requiredFeatures, name);
  t.hasFma = true;
  if (!hasAll(featuresV4, has)) {
    t.isa = Isa::Avx2;
    t.cpu = "x86-64-v3";
    t.lanes = 8;
    t.gemmMR = 6; // 12 accumulators + 2 of B + 1 of A = 15 of 16 registers
    t.gemmNRVectors = 2;
    return;
  }
  for (const char *name : featuresV4)
    append(t.requiredFeatures, name);
  t.isa = Isa::Avx512;
  t.cpu = "x86-64-v4";
  t.lanes = 16;
  t.gemmMR = 14; // 28 accumulators + 2 of B + 1 of A = 31 of 32 registers
  t.gemmNRVectors = 2;
  if (has("avx512vnni")) {
    t.features = "+avx512vnni,+prfchw"; // where it is not known it does nothing
    append(t.requiredFeatures, "avx512vnni");
  }
}

void resolveAArch64(TargetInfo &t) {
  t.isa = Isa::Neon;
  t.cpu = "generic"; // Armv8.0-A
  t.requiredFeatures = "neon";
  t.lanes = 4;
  t.hasFma = true;
  t.gemmMR = 8; // 24 accumulators + 3 of B + 2 of A = 29 of 32 registers
  t.gemmNRVectors = 3;
}

} // namespace

std::optional<TargetInfo> resolveTarget(const std::string &tripleName,
                                        const std::string &mcpu,
                                        std::string &error) {
  initializeTargets();
  TargetInfo t;
  Triple triple(Triple::normalize(
      tripleName.empty() ? sys::getDefaultTargetTriple() : tripleName));
  t.triple = triple.str();
  const Target *target = TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return std::nullopt;
  if (!triple.isX86_64() && !triple.isAArch64()) {
    error = "expected an x86-64 or AArch64 target, but got '" + t.triple + "'";
    return std::nullopt;
  }

  bool native = mcpu.empty() || mcpu == "native";
  Triple host(sys::getDefaultTargetTriple());
  if (native && triple.getArch() != host.getArch()) {
    if (!mcpu.empty()) {
      error =
          "-mcpu=native needs the host's architecture, but the target is '" +
          t.triple + "'";
      return std::nullopt;
    }
    native = false;
  }
  t.tuneCpu = native ? sys::getHostCPUName().str() : mcpu;
  if (t.tuneCpu.empty())
    t.tuneCpu = triple.isX86_64() ? "x86-64" : "generic";

  // Asked of a subtarget without a CPU: one with an unknown CPU prints a
  // warning.
  std::unique_ptr<MCSubtargetInfo> subtarget(
      target->createMCSubtargetInfo(triple, "", ""));
  if (!subtarget || !subtarget->isCPUStringValid(t.tuneCpu)) {
    error = "unknown CPU '" + t.tuneCpu + "' for target '" + t.triple + "'";
    return std::nullopt;
  }
  subtarget.reset(target->createMCSubtargetInfo(triple, t.tuneCpu, ""));
  if (triple.isAArch64()) {
    resolveAArch64(t);
  } else if (native) {
    // Under a hypervisor the CPU's name promises more than the guest may use.
    StringMap<bool> features = sys::getHostCPUFeatures();
    resolveX86(t, [&](StringRef name) { return features.lookup(name); });
  } else {
    resolveX86(t, [&](StringRef name) {
      return subtarget->checkFeatures(("+" + name).str());
    });
  }
  return t;
}

std::unique_ptr<TargetMachine> TargetInfo::createTargetMachine() const {
  initializeTargets();
  std::string error;
  Triple parsed(triple);
  const Target *target = TargetRegistry::lookupTarget(parsed, error);
  if (!target)
    return nullptr;
  TargetOptions options;
  options.AllowFPOpFusion =
      FPOpFusion::Standard; // contraction only where the IR says `contract`
  return std::unique_ptr<TargetMachine>(
      target->createTargetMachine(parsed, cpu, features, options, Reloc::PIC_,
                                  std::nullopt, CodeGenOptLevel::Aggressive));
}

bool runsOnHost(const TargetInfo &target) {
  Triple host(sys::getDefaultTargetTriple());
  if (Triple(target.triple).getArch() != host.getArch())
    return false;
  StringMap<bool> features = sys::getHostCPUFeatures();
  SmallVector<StringRef> names;
  StringRef(target.requiredFeatures).split(names, ',', -1, false);
  for (StringRef name : names)
    if (!features.lookup(name))
      return false;
  return true;
}

} // namespace llmopt::cpu
