// Values that follow from weights alone: what pruning cuts out of them, and what
// quantization makes of them.
//
// Where such a value takes less room than the weights it comes from, the model gets
// the value instead of them; elsewhere (a transposed weight) it stays an operation
// on the weight, under the name that it has.
#ifndef LLMOPT_EXPORT_ONNX_DERIVED_H
#define LLMOPT_EXPORT_ONNX_DERIVED_H

#include "llmopt/Dialect/LM/Eval/Tensor.h"
#include "llmopt/Dialect/LM/IR/LM.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SetVector.h"

namespace llmopt::onnx_export {

class DerivedValues {
public:
  /// Whether `op` computes a derived value.
  bool contains(mlir::Operation *op) { return !find(op).empty(); }
  /// Whether its value is smaller than its weights.
  bool isSmaller(mlir::Operation *op);
  /// The name for its value: that of the weight where nothing else reads it.
  std::string getName(mlir::Operation *op);
  llvm::Expected<lm::Tensor> evaluate(mlir::Operation *op);

private:
  using Sources = llvm::SmallSetVector<mlir::Operation *, 4>;
  const Sources &find(mlir::Operation *op);

  llvm::DenseMap<mlir::Operation *, Sources> sources;
  Sources none;
};

} // namespace llmopt::onnx_export

#endif
