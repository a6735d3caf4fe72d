// Kernels of a plan as CUDA functions.
#ifndef LLMOPT_LIB_CODEGEN_CUDA_STEPEMITTER_H
#define LLMOPT_LIB_CODEGEN_CUDA_STEPEMITTER_H

#include "TuneTable.h"

#include "llmopt/CodeGen/Plan/Tables.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

#include <vector>

namespace llmopt::cuda {

/// One __global__ function, and how it is started.
struct CudaKernel {
  std::string name;
  std::string text;
  size_t buffers = 0, dims = 0; // parameters
  int threads = 256;
  int64_t sharedBytes = 0; // dynamic shared memory of a block
  /// The least architecture that has its instructions.
  int leastArchitecture = 75;
  /// Bytes of scratch memory per block, as C over `dims`; "0" for none.
  std::string scratch = "0";
  /// The same as a number, or as the index of a dim.
  uint64_t scratchBytes = 0;
  uint32_t scratchDim = LLMOPT_NONE;
  bool hasScratch() const { return scratchBytes != 0 || scratchDim != LLMOPT_NONE; }
  /// What it computes, one line per step.
  std::vector<std::string> uses;
};

/// A kernel under construction: parameters, sizes, and the call into the header
/// library that is its body. Buffers are named before sizes.
struct Draft {
  std::string hint; // name, without a number
  std::vector<std::string> parameters;
  StepKernel step;
  /// "f16" and "bias+gelu_tanh" of a product that a library could compute, too: step.library is
  /// set then, without choices.
  std::string libraryType, libraryEpilogue;
  /// A choice that shapes decide, for the comment.
  std::string note;
  /// What may run before the kernels in front are done: it reads weights only.
  std::string prologue;
  std::string body;
  int threads = 256;
  /// Blocks that a multiprocessor is to hold, which limits registers; 0: the compiler's choice.
  int minBlocks = 0;
  int64_t sharedBytes = 0;
  size_t buffers = 0;

  /// Adds a buffer, and gives its name.
  std::string buffer(const std::string &type, const std::string &name);
  /// The same for an operand that may be absent: "nullptr" then.
  std::string optional(mlir::Value value, const std::string &type, const std::string &name);
  /// Memory that blocks share while the step runs; and words that are zero before and after.
  /// Called behind the buffers of operands and results, in this order.
  std::string temporary(const std::string &type, const std::string &name, const lm::SymExpr &bytes);
  std::string zeros(const lm::SymExpr &words, const std::string &name);
  /// A size as text: a constant, or a parameter of the kernel.
  std::string size(const lm::SymExpr &value, const std::string &name);
};

/// Fills in the draft of one kernel operation. A failure has been reported.
mlir::LogicalResult draftKernel(mlir::Operation *op, Draft &draft);

class CudaStepEmitter : public StepEmitter {
public:
  explicit CudaStepEmitter(const TuneTable &tune) : tune(tune) {}
  mlir::FailureOr<StepKernel> emit(mlir::Operation *op) override;
  const std::vector<CudaKernel> &getKernels() const { return kernels; }

private:
  mlir::FailureOr<StepKernel> emitLoops(mlir::Operation *op);
  StepKernel finish(Draft draft, mlir::Operation *op);
  std::string uniqueName(llvm::StringRef hint);

  const TuneTable &tune;
  std::vector<CudaKernel> kernels;
  llvm::StringMap<size_t> byForm; // kernels of equal form are shared
  llvm::StringSet<> names;
};

} // namespace llmopt::cuda

#endif
