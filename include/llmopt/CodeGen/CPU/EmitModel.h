// From a kernel plan (L2) to a CPU artefact and its weights.
#ifndef LLMOPT_CODEGEN_CPU_EMITMODEL_H
#define LLMOPT_CODEGEN_CPU_EMITMODEL_H

#include "llmopt/CodeGen/CPU/Compile.h"
#include "llmopt/CodeGen/CPU/TargetInfo.h"
#include "llmopt/CodeGen/Plan/PlanTarget.h"
#include "llmopt/CodeGen/Plan/Tables.h"

#include "mlir/IR/BuiltinOps.h"

#include <memory>

namespace llmopt::cpu {

/// The plan's view of a CPU.
class CPUPlanTarget : public PlanTarget {
public:
  explicit CPUPlanTarget(const TargetInfo &target) : target(target) {}
  PackedLayout getGemmLayout(int64_t n, int64_t k, mlir::Type elementType) const override;
  std::optional<PackedLayout> getInt8Layout(int64_t n, int64_t k) const override;
  std::optional<int64_t> getQuantizedWidth() const override;
  bool hasInt8Tensors() const override { return true; }
  bool hasQuantizedNorm() const override { return true; }
  bool hasTraining() const override { return true; }
  bool hasLoops(mlir::Operation *op, std::string &reason) const override;

private:
  const TargetInfo &target;
};

/// Emits the kernels that a plan needs into `module`; steps of equal form share
/// one. `module` and `target` must outlive it.
std::unique_ptr<StepEmitter> createStepEmitter(mlir::ModuleOp module, const TargetInfo &target);

struct EmitModelOptions {
  Emit emit = Emit::SharedLibrary;
  /// The artefact. Weights go beside it: model.so, model.weights.
  std::string output;
  /// Another place for the weights; empty: beside the artefact.
  std::string weightsOutput;
  /// Appends the weights to the shared library.
  bool embedWeights = false;
  /// In front of `llmopt_model_v1`.
  std::string symbolPrefix;
  int optLevel = 3;
};

struct EmitModelResult {
  PlannedModel model;
  std::string weightsPath; // empty where none were written
  uint64_t codeBytes = 0;
};

/// Compiles `main` of a planned module and writes artefact and weights, each whole
/// or not at all. LLVM and assembly text come without weights. Failures have been
/// reported: of the model at its operations, of files at the module.
mlir::FailureOr<EmitModelResult> emitModel(mlir::ModuleOp plan, const TargetInfo &target,
                                           const EmitModelOptions &options);

} // namespace llmopt::cpu
#endif
