// Passes that turn an inference model into what trains it.
#ifndef LLMOPT_TRANSFORMS_TRAINING_PASSES_H
#define LLMOPT_TRANSFORMS_TRAINING_PASSES_H

#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace llmopt {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "llmopt/Transforms/Training/Passes.h.inc"
} // namespace llmopt

#endif
