// Keys and values in one input and one output, [2, B, N, P, D].
#ifndef LLMOPT_LIB_TRANSFORMS_CACHE_JOINTPAST_H
#define LLMOPT_LIB_TRANSFORMS_CACHE_JOINTPAST_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace llmopt {

/// Makes two inputs and two outputs of each such pair, keys first.
void splitJointPasts(mlir::func::FuncOp function);

} // namespace llmopt

#endif
