// Normalisation over trailing dimensions, shared by several operators.
#ifndef LLMOPT_IMPORT_ONNX_OPS_NORMBUILDER_H
#define LLMOPT_IMPORT_ONNX_OPS_NORMBUILDER_H

#include "Node.h"

namespace llmopt::onnx_import {

/// Normalises x over all dimensions from `axis` on; `scale` and `bias` (each may
/// be null) broadcast to it.
mlir::Value buildNorm(Node &n, lm::NormKind kind, mlir::Value x, mlir::Value scale, mlir::Value bias, int64_t axis,
                      double epsilon);

} // namespace llmopt::onnx_import

#endif
