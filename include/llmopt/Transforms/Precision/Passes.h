// Passes over the element types that a model computes in.
#ifndef LLMOPT_TRANSFORMS_PRECISION_PASSES_H
#define LLMOPT_TRANSFORMS_PRECISION_PASSES_H

#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace llmopt {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "llmopt/Transforms/Precision/Passes.h.inc"
} // namespace llmopt

#endif
