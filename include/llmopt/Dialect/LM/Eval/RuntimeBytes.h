// Tensors as the runtime keeps them (Runtime/abi.h): as in files, but for elements
// of fewer than eight bits, which take a byte each.
#ifndef LLMOPT_DIALECT_LM_EVAL_RUNTIMEBYTES_H
#define LLMOPT_DIALECT_LM_EVAL_RUNTIMEBYTES_H

#include "llmopt/Dialect/LM/Eval/Tensor.h"

namespace llmopt::lm {

std::vector<char> toRuntimeBytes(const Tensor &tensor);
/// The inverse; bits beyond an element's are not looked at.
llvm::Expected<Tensor> fromRuntimeBytes(mlir::Type elementType, llvm::ArrayRef<int64_t> dims,
                                        llvm::ArrayRef<char> bytes);

} // namespace llmopt::lm

#endif
