// One line per dialect and per pass library: add yours here. A file of its own,
// since headers of dialects and passes are what takes long to compile.
#include "Registration.h"

#include "llmopt/CodeGen/Plan/Passes.h"
#include "llmopt/Dialect/Kernel/IR/Kernel.h"
#include "llmopt/Dialect/LM/IR/LM.h"
#include "llmopt/Transforms/Passes.h"
#include "llmopt/Transforms/Cache/Passes.h"
#include "llmopt/Transforms/Precision/Passes.h"
#include "llmopt/Transforms/Pruning/Passes.h"
#include "llmopt/Transforms/Quantization/Passes.h"
#include "llmopt/Transforms/Shapes/Passes.h"
#include "llmopt/Transforms/Training/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Transforms/Passes.h"

void llmopt::registerEverything(mlir::DialectRegistry &registry) {
  registry.insert<mlir::func::FuncDialect, kernel::KernelDialect, lm::LMDialect>();
  mlir::registerTransformsPasses();
  registerTransforms();
  registerLLMOptCachePasses();
  registerLLMOptPrecisionPasses();
  registerLLMOptPruningPasses();
  registerLLMOptQuantizationPasses();
  registerLLMOptShapesPasses();
  registerLLMOptTrainingPasses();
  registerPlanPasses();
}
