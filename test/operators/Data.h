// Inputs of samples, and comparisons.
#ifndef LLMOPT_TEST_OPERATORS_DATA_H
#define LLMOPT_TEST_OPERATORS_DATA_H

#include "llmopt/Dialect/LM/Eval/Tensor.h"
#include "llmopt/Execution/Artifact.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace llmopt::operators {

/// Values of the arguments of `function`, the same ones in every run: within
/// `test.range`, else floats in [-0.9, 0.9] and integers 0 or 1. Arguments that are
/// integers here and floats in `original` get integers of the range, else in [-9, 9].
llvm::SmallVector<lm::Tensor> makeInputs(mlir::func::FuncOp function, mlir::func::FuncOp original);

/// Inputs by `lm.name`.
std::vector<NamedArray> nameInputs(mlir::func::FuncOp function, llvm::ArrayRef<lm::Tensor> inputs);
std::string nameOf(mlir::DictionaryAttr attributes);

/// Empty where the arrays are what the evaluator gave, by the names of results.
std::string compareOutputs(mlir::func::FuncOp function, llvm::ArrayRef<NamedArray> actual,
                           llvm::ArrayRef<lm::Tensor> expected);

} // namespace llmopt::operators

#endif
