// Weights that an algorithm computed from data: no recipe can make them again.
#ifndef LLMOPT_TRANSFORMS_QUANTIZATION_DERIVEDWEIGHTS_H
#define LLMOPT_TRANSFORMS_QUANTIZATION_DERIVEDWEIGHTS_H

#include "llmopt/Transforms/Quantization/Scheme.h"
#include "llmopt/Transforms/Quantization/WeightMatrix.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/Error.h"

namespace llmopt {

/// A quantized matrix in files: what lm.weight operations for it say.
struct StoredWeight {
  std::string name;
  lm::FileAttr q, scale, zeroPoint;
  mlir::RankedTensorType type, parameterType;
};

/// A folder of such weights. It is removed with this object, so operations that
/// read from it must have been emitted by then.
class DerivedWeights {
public:
  DerivedWeights() = default;
  ~DerivedWeights();
  DerivedWeights(const DerivedWeights &) = delete;
  DerivedWeights &operator=(const DerivedWeights &) = delete;

  /// Writes a matrix; `name` is that of the layer, and used once.
  llvm::Expected<StoredWeight> store(mlir::MLIRContext *context, llvm::StringRef name, const QuantizedMatrix &matrix);

private:
  llvm::Expected<lm::FileAttr> write(mlir::MLIRContext *context, llvm::ArrayRef<char> bytes);

  llvm::SmallString<128> folder;
  int count = 0;
};

/// lm.weight operations that read it.
SolvedWeight createWeights(mlir::OpBuilder &builder, mlir::Location loc, const StoredWeight &stored);

} // namespace llmopt

#endif
