// From a kernel plan (L2) to a CUDA project, or to an artefact that emulates it.
//
// model.cu holds one function per kernel over the header-only library in
// llmopt/cuda, and the tables of Runtime/abi.h as C++ text.
#ifndef LLMOPT_CODEGEN_CUDA_EMITCUDA_H
#define LLMOPT_CODEGEN_CUDA_EMITCUDA_H

#include "llmopt/CodeGen/Plan/PlanTarget.h"

#include "mlir/IR/BuiltinOps.h"

namespace llmopt::cuda {

/// The plan's view of a GPU: panels of 64 columns, attention for every head size
/// that fits a block, everything else as loops.
class CudaPlanTarget : public PlanTarget {
public:
  PackedLayout getGemmLayout(int64_t n, int64_t k) const override;
  std::optional<PackedLayout> getInt8Layout(int64_t n, int64_t k) const override;
  bool hasAttention(lm::AttentionOp op) const override;
  bool hasLoops(mlir::Operation *op, std::string &reason) const override;
};

/// Writes model.cu, model.weights, headers, CMakeLists.txt and README.md into the
/// folder `output`, each whole or not at all. Failures have been reported.
mlir::LogicalResult emitCudaProject(mlir::ModuleOp plan, llvm::StringRef output, llvm::StringRef arch);

/// Compiles the same project for the CPU with the host's C++ compiler, against
/// the emulation header, into the artefact `output` and `<stem>.weights`.
mlir::LogicalResult emitCudaEmulation(mlir::ModuleOp plan, llvm::StringRef output, llvm::StringRef symbolPrefix);

} // namespace llmopt::cuda

#endif
