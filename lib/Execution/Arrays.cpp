#include "llmopt/Execution/Arrays.h"

#include "llmopt/CodeGen/Plan/Tables.h"
#include "llmopt/Dialect/LM/Eval/RuntimeBytes.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace llmopt;
using lm::Tensor;

llvm::Expected<Tensor> llmopt::toTensor(MLIRContext *context, const NamedArray &array) {
  Type element = getTypeOfDType(context, array.dtype);
  if (!element)
    return llvm::createStringError("'" + array.name + "': expected an element type that models have");
  return lm::fromRuntimeBytes(element, array.dims, array.data);
}

NamedArray llmopt::toArray(StringRef name, const Tensor &tensor) {
  std::vector<char> bytes = lm::toRuntimeBytes(tensor);
  ArrayRef<int64_t> dims = tensor.getDims();
  return {name.str(), getDType(tensor.getElementType()), std::vector<int64_t>(dims.begin(), dims.end()), bytes};
}
