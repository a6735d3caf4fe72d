// Where an operation comes from in the source model, kept in its location.
//
// An imported operation has the location fused<{op = "ai.onnx.MatMul", version
// = 13, module = "encoder.layer.0.attention.self.query"}>["node name"]. Passes
// that combine operations fuse their locations and lose nothing.
#ifndef LLMOPT_DIALECT_LM_IR_NODELOCATION_H
#define LLMOPT_DIALECT_LM_IR_NODELOCATION_H

#include "mlir/IR/Location.h"
#include "mlir/IR/Operation.h"

#include <string>

namespace llmopt::lm {

/// One node of the source model. Empty texts where nothing is known.
struct NodeInfo {
  std::string node;   // "/encoder/layer.0/attention/self/query/MatMul"
  std::string op;     // "ai.onnx.MatMul"
  int64_t version;    // 13
  std::string module; // "encoder.layer.0.attention.self.query"
};

mlir::Location getNodeLocation(mlir::MLIRContext *context, const NodeInfo &info);

/// All nodes that a location names, in order, each once.
llvm::SmallVector<NodeInfo> getNodes(mlir::Location loc);

/// The module of the model that `op` computes, as its owner calls it:
/// "encoder.layer.0.attention.self.query". With several nodes it is the longest
/// path that they share. Models exported without scopes name no modules; then
/// it follows from the name of a weight that `op` (or its only user) reads.
/// Empty where nothing is known.
std::string getModulePath(mlir::Operation *op);

} // namespace llmopt::lm

#endif
