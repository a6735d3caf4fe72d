// All operations of the lm dialect, one file per family.
#ifndef LLMOPT_LM_OPS
#define LLMOPT_LM_OPS

include "llmopt/Dialect/LM/IR/LMConstantOps.td"
include "llmopt/Dialect/LM/IR/LMElementwiseOps.td"
include "llmopt/Dialect/LM/IR/LMShapeOps.td"
include "llmopt/Dialect/LM/IR/LMReduceOps.td"
include "llmopt/Dialect/LM/IR/LMMatmulOps.td"
include "llmopt/Dialect/LM/IR/LMTransformerOps.td"
include "llmopt/Dialect/LM/IR/LMQuantOps.td"
include "llmopt/Dialect/LM/IR/LMFakeQuantOps.td"
include "llmopt/Dialect/LM/IR/LMTrainingOps.td"
include "llmopt/Dialect/LM/IR/LMControlOps.td"
include "llmopt/Dialect/LM/IR/LMWindowOps.td"
include "llmopt/Dialect/LM/IR/LMBitOps.td"
include "llmopt/Dialect/LM/IR/LMIndexOps.td"
include "llmopt/Dialect/LM/IR/LMRandomOps.td"
include "llmopt/Dialect/LM/IR/LMScanOps.td"
include "llmopt/Dialect/LM/IR/LMTrigOps.td"
include "llmopt/Dialect/LM/IR/LMCacheOps.td"

#endif
