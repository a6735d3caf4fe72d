// One entry per family of rules; each returns failure for operations of others.
#ifndef LLMOPT_LIB_TRANSFORMS_TRAINING_VJPRULES_H
#define LLMOPT_LIB_TRANSFORMS_TRAINING_VJPRULES_H

#include "llmopt/Transforms/Training/Autodiff.h"

namespace llmopt {
mlir::LogicalResult applyElementwiseVJP(mlir::Operation *op, mlir::Value g, const VJPContext &c);
mlir::LogicalResult applyShapeVJP(mlir::Operation *op, mlir::Value g, const VJPContext &c);
mlir::LogicalResult applyGatherVJP(mlir::Operation *op, mlir::Value g, const VJPContext &c);
mlir::LogicalResult applyReduceVJP(mlir::Operation *op, mlir::Value g, const VJPContext &c);
mlir::LogicalResult applyMatmulVJP(mlir::Operation *op, mlir::Value g, const VJPContext &c);
mlir::LogicalResult applyQuantizeVJP(mlir::Operation *op, mlir::Value g, const VJPContext &c);
mlir::LogicalResult applyTransformerVJP(mlir::Operation *op, mlir::Value g, const VJPContext &c);
} // namespace llmopt

#endif
