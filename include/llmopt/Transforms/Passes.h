// Passes and pipelines over the lm dialect.
#ifndef LLMOPT_TRANSFORMS_PASSES_H
#define LLMOPT_TRANSFORMS_PASSES_H

#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassOptions.h"

namespace llmopt {

#define GEN_PASS_DECL
#include "llmopt/Transforms/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "llmopt/Transforms/Passes.h.inc"

struct RaisePipelineOptions : mlir::PassPipelineOptions<RaisePipelineOptions> {
  Option<bool> fuseQKV{*this, "fuse-qkv", llvm::cl::desc("Merge query, key and value projections into one linear"),
                       llvm::cl::init(true)};
};

/// From imported L0 to L1: cleanup, every Raise pass, cleanup. The order matters
/// only between linear, attention and fuse-qkv.
void buildRaisePipeline(mlir::OpPassManager &pm, const RaisePipelineOptions &options = {});

/// Registers every pass of this library, and buildRaisePipeline as `lm-raise`.
void registerTransforms();

} // namespace llmopt

#endif
