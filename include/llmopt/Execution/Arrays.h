// Named arrays of the runtime as tensors of the evaluator, and back.
#ifndef LLMOPT_EXECUTION_ARRAYS_H
#define LLMOPT_EXECUTION_ARRAYS_H

#include "llmopt/Dialect/LM/Eval/Tensor.h"
#include "llmopt/Execution/Artifact.h"

namespace llmopt {

/// Fails where the runtime's element type is not one of the dialect's.
llvm::Expected<lm::Tensor> toTensor(mlir::MLIRContext *context, const NamedArray &array);

/// `dtype` is 0 where the runtime has no such element type.
NamedArray toArray(llvm::StringRef name, const lm::Tensor &tensor);

} // namespace llmopt

#endif
