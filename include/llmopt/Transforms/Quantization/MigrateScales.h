// Dividing an activation by a vector, for free: in what produces it.
#ifndef LLMOPT_TRANSFORMS_QUANTIZATION_MIGRATESCALES_H
#define LLMOPT_TRANSFORMS_QUANTIZATION_MIGRATESCALES_H

#include "llmopt/Dialect/LM/IR/LM.h"

namespace llmopt {

/// Whether x / s can be had by changing weights only: x comes from a norm, a linear
/// layer, an attention over a value projection with as many heads, or a product
/// with one of these, and only `consumers` read it.
bool canMigrateScales(mlir::Value x, llvm::ArrayRef<lm::LinearOp> consumers);

/// Divides x [.., K] by s [K] in its producer and multiplies the rows of the weights
/// of `consumers` by it: the model computes the same. canMigrateScales must hold.
void migrateScales(mlir::Value x, llvm::ArrayRef<lm::LinearOp> consumers, llvm::ArrayRef<float> scales);

} // namespace llmopt

#endif
