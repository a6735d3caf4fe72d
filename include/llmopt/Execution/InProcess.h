// A plan compiled into this process: no artefact, no linker.
//
// The same kernels, tables and weights file as an artefact has; only the object
// code is linked by LLVM's JIT linker instead of lld. For tests, and for passes
// that must run a model (calibration, evaluation).
#ifndef LLMOPT_EXECUTION_INPROCESS_H
#define LLMOPT_EXECUTION_INPROCESS_H

#include "llmopt/CodeGen/CPU/TargetInfo.h"
#include "llmopt/Execution/Artifact.h"

#include "mlir/IR/BuiltinOps.h"

#include <memory>

namespace llmopt {

class InProcessModel {
public:
  /// Compiles @main of a planned module (L2). Weights go through a temporary
  /// file, which is gone when this returns. Problems of the model have been
  /// reported at its operations too.
  static llvm::Expected<std::unique_ptr<InProcessModel>> compile(mlir::ModuleOp plan, const cpu::TargetInfo &target,
                                                                 int optLevel = 3);
  ~InProcessModel();

  /// Binds the shapes of `inputs` (by name) and runs once; 0 threads are as many as
  /// there are cores.
  llvm::Expected<std::vector<NamedArray>> run(llvm::ArrayRef<NamedArray> inputs, unsigned numThreads = 1);

  /// Binds the shapes of `inputs`, so that only kernels are left to be timed. The
  /// model and the bytes of `inputs` must outlive the result.
  llvm::Expected<std::unique_ptr<RepeatedRun>> prepare(llvm::ArrayRef<NamedArray> inputs, unsigned numThreads = 1);

private:
  struct Impl;
  explicit InProcessModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl;
};

} // namespace llmopt

#endif
