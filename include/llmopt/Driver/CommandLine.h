// What the user asked for.
#ifndef LLMOPT_DRIVER_COMMANDLINE_H
#define LLMOPT_DRIVER_COMMANDLINE_H

#include "llmopt/Driver/QuantizeOptions.h"
#include "llmopt/Driver/TrainOptions.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace llmopt {

/// Exit codes of every tool.
enum ExitCode {
  kOk = 0,
  kBadModel = 1,    ///< the model or the data is at fault
  kUsage = 2,       ///< the command line is
  kGateFailed = 3,  ///< a check that the user set failed
  kEnvironment = 4, ///< disk, memory, GPU, nvcc, ISA
  kInternal = 70,   ///< our bug
};

enum class EmitKind { LM, Kernels, LLVM, Asm, Obj, So, Cuda, Cubin, Ptx, Onnx };

struct ShapePin {
  std::string input;
  std::vector<int64_t> dims;
};

/// -mem-budget: what training may take where symbols have these sizes.
struct MemoryBudget {
  uint64_t bytes = 0;
  std::vector<std::pair<std::string, int64_t>> sizes;
};

struct CommandLine {
  std::string model;
  std::string output; ///< empty: the default of the kind
  EmitKind emit = EmitKind::So;
  bool embedWeights = false;
  bool kvCache = false;
  bool kvCacheInt8 = false;
  std::string subgraph; ///< of a search; empty: its decoder
  std::string symbolPrefix;
  std::vector<ShapePin> shapes;
  std::string target; ///< a triple; empty: the host
  std::string cpu = "native";
  bool emulate = false;
  std::string cudaArch = "sm_80";
  std::string cudaTune; ///< file of measured products

  std::string precision; ///< "f16" with -fp16, "bf16" with -bf16
  bool fp8 = false;
  std::optional<int64_t> keepHeads; ///< -prune=heads:<n>
  std::string weights;              ///< safetensors
  bool train = false;
  std::vector<std::string> trainable; // globs
  std::string loss;                   ///< empty: what fits the head, or cross_entropy
  int64_t lossChunk = 256;            ///< of causal: tokens whose logits exist at a time; 0: all
  std::string recompute = "free";
  std::optional<MemoryBudget> memoryBudget;
  TrainOptions training;
  QuantizeOptions quantize;

  bool reportFusion = false;
  bool reportTime = false;
  bool reportQuant = false;
  std::string reportFile;
  std::vector<std::pair<std::string, int64_t>> requireFusion;
  bool info = false;
  std::string verify;
  std::string expect;
  double tolerance = 1e-4;

  bool help = false;
  bool version = false;

  std::string getLoss() const {
    return !loss.empty() ? loss : training.head ? training.head->getLoss() : "cross_entropy";
  }
};

/// Parses argv[1..]. On a usage error prints one line to `errors` and returns
/// nullopt.
std::optional<CommandLine> parseCommandLine(llvm::ArrayRef<const char *> args, llvm::raw_ostream &errors);
void printHelp(llvm::raw_ostream &os);

} // namespace llmopt

#endif
