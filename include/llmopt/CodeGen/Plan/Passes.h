// Passes that make the kernel plan.
#ifndef LLMOPT_CODEGEN_PLAN_PASSES_H
#define LLMOPT_CODEGEN_PLAN_PASSES_H

#include "llmopt/Dialect/Kernel/IR/Kernel.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace llmopt {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "llmopt/CodeGen/Plan/Passes.h.inc"
} // namespace llmopt

#endif
