// Loops as the importer builds them: of a subgraph's nodes (Loop, Scan), or of
// operations (recurrent layers).
#ifndef LLMOPT_LIB_IMPORT_ONNX_OPS_LOOPBUILDER_H
#define LLMOPT_LIB_IMPORT_ONNX_OPS_LOOPBUILDER_H

#include "../Node.h"

namespace llmopt::onnx_import {

/// What one iteration gives.
struct LoopStep {
  mlir::Value condition; // whether to go on; null: always
  llvm::SmallVector<mlir::Value> states, rows;
};

struct LoopSpec {
  /// How often, where shapes give it; else unknown() and `tripCount`, if any.
  SymExpr trips = SymExpr::unknown();
  mlir::Value tripCount;
  mlir::Value condition; // before the first iteration; null: true
  llvm::SmallVector<mlir::Value> inits;
  llvm::SmallVector<std::string> stateNames;
  llvm::SmallVector<bool> reverseRows;
  /// Whether anything but the caller of the model reads rows: then how many there
  /// are becomes a symbol.
  bool readsRows = true;
  /// Iterations of a constant number are written out while they have at most so
  /// many nodes in all, and whenever a state changes its shape.
  int64_t nodes = 1, unrollNodes = 0;
};

using LoopBody = llvm::function_ref<std::optional<LoopStep>(mlir::Value iteration, llvm::ArrayRef<mlir::Value> states)>;

/// The last states, then the scan outputs; empty after an error. `body` may be
/// called more than once.
llvm::SmallVector<mlir::Value> buildLoop(Node &n, const LoopSpec &spec, LoopBody body);

} // namespace llmopt::onnx_import

#endif
