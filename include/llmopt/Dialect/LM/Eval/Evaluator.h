// The evaluator: what every operation of the dialect means, as plain loops.
//
// Floats are computed in f64 and rounded once per operation to the declared
// type, integers in 64 bits and wrapped. Everything else (folds, kernels,
// gradients) is tested against it. It is no execution engine: whole models with
// real sizes are run compiled.
#ifndef LLMOPT_DIALECT_LM_EVAL_EVALUATOR_H
#define LLMOPT_DIALECT_LM_EVAL_EVALUATOR_H

#include "llmopt/Dialect/LM/Eval/Tensor.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringMap.h"

namespace llmopt::lm {

/// Values of shape symbols.
using SymbolBindings = llvm::StringMap<int64_t>;

/// Evaluates one operation of the lm dialect. Operand dimensions are trusted to
/// fit the operand types; the result's are checked against its type, as far as
/// `bindings` determine it. A failure has been reported at the op's location.
/// `lm.weight` reads files through the dialect's WeightStore.
mlir::FailureOr<llvm::SmallVector<Tensor>> evaluateOp(mlir::Operation *op, llvm::ArrayRef<Tensor> operands,
                                                      const SymbolBindings &bindings = {});

/// The same, with the failure as a value and nothing reported.
llvm::Expected<llvm::SmallVector<Tensor>> tryEvaluateOp(mlir::Operation *op, llvm::ArrayRef<Tensor> operands,
                                                        const SymbolBindings &bindings = {});

/// Evaluates a function of one block. Symbols are bound by the dimensions of
/// the inputs, and every dimension is checked. A failure has been reported, at
/// the function (for inputs) or at the op that failed.
mlir::FailureOr<llvm::SmallVector<Tensor>> evaluate(mlir::func::FuncOp function, llvm::ArrayRef<Tensor> inputs);

/// Binds the symbols of `types` by the dimensions of `values`; an error names
/// the input (by `names`, else its number) and the dimension that do not fit.
llvm::Expected<SymbolBindings> bindSymbols(mlir::TypeRange types, llvm::ArrayRef<Tensor> values,
                                           llvm::ArrayRef<std::string> names = {});

} // namespace llmopt::lm

#endif
