#include "Data.h"

#include "../conformance/Compare.h"
#include "llmopt/Dialect/LM/IR/LM.h"
#include "llmopt/Execution/Arrays.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/STLExtras.h"

#include <cmath>
#include <random>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::operators;

/// Sizes of the symbols of samples.
static std::optional<int64_t> sizeOf(llvm::StringRef symbol) {
  return symbol == "n"   ? std::optional<int64_t>(5)
         : symbol == "b" ? std::optional<int64_t>(2)
         : symbol == "s" ? std::optional<int64_t>(3)
                         : std::nullopt;
}

static lm::Tensor makeInput(func::FuncOp function, unsigned i, Type original, std::mt19937 &random) {
  Type type = function.getArgumentTypes()[i], element = getElementTypeOrSelf(type);
  bool wasFloat = isa<FloatType>(getElementTypeOrSelf(original));
  double lo = isa<FloatType>(element) ? -0.9 : wasFloat ? -9 : 0;
  double hi = isa<FloatType>(element) ? 0.9 : wasFloat ? 9 : 1;
  if (auto range = function.getArgAttrOfType<ArrayAttr>(i, "test.range")) {
    auto at = [&](unsigned k) {
      if (auto real = dyn_cast<FloatAttr>(range[k]))
        return real.getValueAsDouble();
      return static_cast<double>(cast<IntegerAttr>(range[k]).getInt());
    };
    lo = at(0), hi = at(1);
    if (!isa<FloatType>(element)) {
      lo = std::ceil(lo), hi = std::floor(hi);
      if (lo > hi) // no integer between
        lo = hi = 1;
    }
  }
  SmallVector<int64_t> dims;
  int64_t count = 1;
  for (const lm::SymExpr &dim : lm::getDims(type)) {
    dims.push_back(dim.evaluate(sizeOf).value_or(1));
    count *= dims.back();
  }
  if (isa<FloatType>(element)) {
    std::vector<double> values(count);
    for (double &v : values)
      v = std::uniform_real_distribution<double>(lo, hi)(random);
    return llvm::cantFail(lm::Tensor::fromFloats(element, dims, values));
  }
  std::vector<int64_t> values(count);
  for (int64_t &v : values)
    v = std::uniform_int_distribution<int64_t>(lo, hi)(random);
  return llvm::cantFail(lm::Tensor::fromInts(element, dims, values));
}

SmallVector<lm::Tensor> operators::makeInputs(func::FuncOp function, func::FuncOp original) {
  std::mt19937 random(11);
  SmallVector<lm::Tensor> inputs;
  for (unsigned i = 0; i < function.getNumArguments(); ++i)
    inputs.push_back(makeInput(function, i, original.getArgumentTypes()[i], random));
  return inputs;
}

std::string operators::nameOf(DictionaryAttr attributes) {
  auto name = attributes ? attributes.getAs<StringAttr>("lm.name") : StringAttr();
  return name ? name.str() : std::string();
}

std::vector<NamedArray> operators::nameInputs(func::FuncOp function, ArrayRef<lm::Tensor> inputs) {
  std::vector<NamedArray> arrays;
  for (auto [i, tensor] : llvm::enumerate(inputs))
    arrays.push_back(toArray(nameOf(function.getArgAttrDict(i)), tensor));
  return arrays;
}

std::string operators::compareOutputs(func::FuncOp function, ArrayRef<NamedArray> actual,
                                      ArrayRef<lm::Tensor> expected) {
  for (auto [i, want] : llvm::enumerate(expected)) {
    std::string name = nameOf(function.getResultAttrDict(i));
    auto found = llvm::find_if(actual, [&](const NamedArray &array) { return array.name == name; });
    if (found == actual.end())
      return "no output '" + name + "'";
    llvm::Expected<lm::Tensor> got = toTensor(function.getContext(), *found);
    if (!got)
      return llvm::toString(got.takeError());
    if (std::string difference = conformance::compare(*got, want); !difference.empty())
      return name + ": " + difference;
  }
  return "";
}
