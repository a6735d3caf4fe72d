// Inputs that -verify makes up where the user gives none.
#ifndef LLMOPT_LIB_DRIVER_VERIFYINPUTS_H
#define LLMOPT_LIB_DRIVER_VERIFYINPUTS_H

#include "llmopt/Dialect/LM/Eval/Tensor.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace llmopt {

/// One tensor per argument of `function`, the same for the same function: shape
/// symbols get small different values, `constraints` kept; integers that pick
/// rows of a table stay inside it, other integers are a ragged mask of 0 and 1
/// (row r of a batch begins with a run of ones); floats are uniform in [-1, 1).
llvm::Expected<llvm::SmallVector<lm::Tensor>> makeInputs(mlir::func::FuncOp function);

} // namespace llmopt

#endif
