#include "llmopt/Execution/Arrays.h"

#include "llmopt/CodeGen/Plan/Tables.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace llmopt;
using lm::Tensor;

/// The element type of a runtime type; null for an unknown one.
static Type elementTypeOf(MLIRContext *context, uint32_t dtype) {
  Builder b(context);
  for (Type type :
       {Type(b.getF32Type()), Type(b.getF64Type()), Type(b.getF16Type()), Type(b.getBF16Type()), Type(b.getI1Type())})
    if (getDType(type) == dtype)
      return type;
  for (unsigned width : {8, 16, 32, 64})
    for (auto sign : {IntegerType::Signless, IntegerType::Unsigned})
      if (Type type = IntegerType::get(context, width, sign); getDType(type) == dtype)
        return type;
  return {};
}

llvm::Expected<Tensor> llmopt::toTensor(MLIRContext *context, const NamedArray &array) {
  Type element = elementTypeOf(context, array.dtype);
  if (!element)
    return llvm::createStringError("'" + array.name + "': expected an element type that models have");
  return Tensor::fromBytes(element, array.dims, array.data);
}

NamedArray llmopt::toArray(StringRef name, const Tensor &tensor) {
  std::vector<char> bytes = tensor.toBytes();
  ArrayRef<int64_t> dims = tensor.getDims();
  return {name.str(), getDType(tensor.getElementType()), std::vector<int64_t>(dims.begin(), dims.end()), bytes};
}
