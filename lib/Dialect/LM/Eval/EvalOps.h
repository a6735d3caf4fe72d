// Shared by the files of the evaluator, private to them.
#ifndef LLMOPT_LIB_DIALECT_LM_EVAL_EVALOPS_H
#define LLMOPT_LIB_DIALECT_LM_EVAL_EVALOPS_H

#include "llmopt/Dialect/LM/Eval/Evaluator.h"
#include "llmopt/Dialect/LM/IR/LM.h"

#include "llvm/Support/FormatVariadic.h"

namespace llmopt::lm::eval {

using llvm::ArrayRef;
using llvm::MutableArrayRef;
using llvm::SmallVector;

using Result = llvm::Expected<Tensor>;
using Dims = SmallVector<int64_t>;

/// An error with llvm::formatv's arguments; arrays print as lists.
template <typename... Args> llvm::Error fail(const char *format, Args &&...args) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(),
                                 llvm::formatv(format, std::forward<Args>(args)...).str());
}
/// "[1, 2, 3]".
std::string text(ArrayRef<int64_t> dims);

/// The dimensions of a type under bindings; nullopt for one that has no value.
SmallVector<std::optional<int64_t>> resolveDims(mlir::Type type, const SymbolBindings &bindings);
/// The same, failing where one has no value.
llvm::Expected<Dims> requireDims(mlir::Type type, const SymbolBindings &bindings);
llvm::Expected<Dims> requireValues(SymValuesAttr attr, const SymbolBindings &bindings);

Dims rowMajorStrides(ArrayRef<int64_t> dims);
/// NumPy broadcast of all shapes.
llvm::Expected<Dims> broadcastShapes(ArrayRef<ArrayRef<int64_t>> shapes);
/// result[i, j, ..] = input.flat[base + i*strides[0] + j*strides[1] + ..].
Result stridedCopy(const Tensor &input, ArrayRef<int64_t> dims, int64_t base, ArrayRef<int64_t> strides);
Result broadcastTo(const Tensor &input, ArrayRef<int64_t> dims);
/// Copies element `from` of `source` to element `to` of `target` (same type).
class ElementCopier {
public:
  ElementCopier(Tensor &target, const Tensor &source);
  void copy(int64_t to, int64_t from, int64_t count = 1);

private:
  MutableArrayRef<double> floatsTo;
  MutableArrayRef<int64_t> intsTo;
  ArrayRef<double> floatsFrom;
  ArrayRef<int64_t> intsFrom;
  bool isFloat;
};
/// dims as outer x dims[axis] x inner.
struct AxisView {
  int64_t outer = 1, size = 1, inner = 1;
  AxisView(ArrayRef<int64_t> dims, int64_t axis);
};

/// fn of every float, rounded to the element type.
template <typename Fn> Result mapFloats(const Tensor &input, Fn fn) {
  Tensor result = input;
  for (double &value : result.mutableFloats())
    value = roundToType(input.getElementType(), fn(value));
  return result;
}

/// Element `i` of `indices` as an index into a dimension of `size` elements:
/// checked, negative ones count from the end.
llvm::Expected<int64_t> indexAt(const Tensor &indices, int64_t i, int64_t size);
/// fn(n, at) for every element n of `indices`: `at` is its own place in `dims`, but
/// along `axis`, where it is what the element says.
llvm::Error forIndicesAlong(int64_t axis, const Tensor &indices, ArrayRef<int64_t> dims,
                            llvm::function_ref<void(int64_t n, int64_t at)> fn);

/// Conversion of the element type (lm.cast).
Result castTo(const Tensor &input, mlir::Type elementType, bool saturate = true, Rounding rounding = Rounding::Nearest);
/// One float, as lm.cast converts it.
double convertFloat(mlir::Type elementType, double value, bool saturate, Rounding rounding);

/// Runs the operations of a block, those in regions included; what its
/// terminator names. A failure has been reported.
mlir::FailureOr<SmallVector<Tensor>> evaluateBlock(mlir::Block &block, ArrayRef<Tensor> arguments,
                                                   const SymbolBindings &bindings);

/// One function per family: nullopt for an operation of another one.
std::optional<Result> evaluateConstants(mlir::Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings);
std::optional<Result> evaluateUnary(mlir::Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings);
std::optional<Result> evaluateBinary(mlir::Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings);
std::optional<Result> evaluateShapes(mlir::Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings);
std::optional<Result> evaluateGathers(mlir::Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings);
std::optional<Result> evaluateReductions(mlir::Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings);
std::optional<Result> evaluateMatmuls(mlir::Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings);
std::optional<Result> evaluateTransformer(mlir::Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings);
std::optional<Result> evaluateAttentions(mlir::Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings);
std::optional<Result> evaluateTraining(mlir::Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings);
std::optional<Result> evaluateBits(mlir::Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings);
std::optional<Result> evaluateScans(mlir::Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings);
std::optional<Result> evaluateScatters(mlir::Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings);
std::optional<Result> evaluateSorting(mlir::Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings);
std::optional<Result> evaluateQuantization(mlir::Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings);

} // namespace llmopt::lm::eval

#endif
