// Modules of the lm dialect as ONNX models.
#ifndef LLMOPT_EXPORT_ONNX_EXPORT_H
#define LLMOPT_EXPORT_ONNX_EXPORT_H

#include "mlir/IR/BuiltinOps.h"

namespace llmopt {

/// Writes @main as an ONNX model to `path`: standard operators only, in the lowest
/// operator set (18 or later) that has those in use. Inputs, outputs, dimensions,
/// weights and nodes keep their names. Weights of 16 KB and more go to
/// `<path>.data`, one at a time; the model file then names it without a folder, so
/// that both can be moved together. Both files appear whole or not at all.
///
/// Reports an error at every kind of operation that has no ONNX form, and fails.
/// What @main's `lm.constraints` say is not written: ONNX has no place for it.
mlir::LogicalResult exportONNX(mlir::ModuleOp module, llvm::StringRef path);

} // namespace llmopt

#endif
