#include "WeightSources.h"

#include "llmopt/CodeGen/Plan/Tables.h"
#include "llmopt/CodeGen/Plan/WeightsFile.h"
#include "llmopt/Dialect/LM/IR/WeightStore.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/SetVector.h"

using namespace llmopt;
using llvm::ArrayRef;

RecipeSource WeightSources::asSource() {
  return {[this](const std::string &name, std::string &error) { return get(name, error); },
          [this](const std::string &name) { release(name); }};
}

const char *WeightSources::get(const std::string &name, std::string &error) {
  auto it = weights.find(name);
  if (it == weights.end()) {
    error = "weight '" + name + "' is not there";
    return nullptr;
  }
  lm::WeightOp op = it->second;
  if (auto dense = mlir::dyn_cast<mlir::DenseElementsAttr>(op.getSource())) {
    std::vector<char> &bytes = expanded[name];
    if (bytes.empty())
      bytes = getBytes(dense);
    return bytes.data();
  }
  llvm::Expected<ArrayRef<char>> bytes = lm::WeightStore::get(op.getContext()).getBytes(op);
  mlir::Type type = mlir::getElementTypeOrSelf(op.getType());
  if (unsigned bits = type.getIntOrFloatBitWidth(); bytes && bits > 1 && bits < 8)
    return expand(name, *bytes, bits, type.isSignlessInteger(),
                  mlir::cast<mlir::RankedTensorType>(op.getType()).getNumElements());
  if (bytes)
    return bytes->data();
  error = llvm::toString(bytes.takeError());
  return nullptr;
}

void WeightSources::release(const std::string &name) {
  expanded.erase(name);
  auto it = weights.find(name);
  if (it != weights.end() && mlir::isa<lm::FileAttr>(it->second.getSource()))
    lm::WeightStore::get(it->second.getContext()).release(it->second);
}

/// Elements of a few bits, one in a byte each.
const char *WeightSources::expand(const std::string &name, ArrayRef<char> packed, unsigned bits, bool isSigned,
                                  int64_t count) {
  std::vector<char> &bytes = expanded[name];
  unsigned perByte = 8 / bits, up = 8 - bits;
  for (int64_t i = bytes.size(); i < count; ++i) {
    auto high = static_cast<uint8_t>((static_cast<uint8_t>(packed[i / perByte]) >> (i % perByte * bits)) << up);
    bytes.push_back(static_cast<char>(isSigned ? static_cast<int8_t>(high) >> up : high >> up));
  }
  return bytes.data();
}

llvm::Expected<std::vector<char>> llmopt::readWeight(mlir::Value value) {
  std::string said;
  mlir::FailureOr<Recipe> recipe = [&] {
    mlir::ScopedDiagnosticHandler handler(value.getContext(), [&](mlir::Diagnostic &diagnostic) {
      said = diagnostic.str();
      return mlir::success();
    });
    return buildRecipe(value);
  }();
  if (mlir::failed(recipe))
    return llvm::createStringError(said);
  WeightSources sources;
  llvm::SetVector<mlir::Operation *> behind;
  if (mlir::Operation *op = value.getDefiningOp())
    behind.insert(op);
  for (size_t i = 0; i < behind.size(); ++i) {
    if (auto weight = mlir::dyn_cast<lm::WeightOp>(behind[i]))
      sources.add(weight.getName(), weight);
    for (mlir::Value operand : behind[i]->getOperands())
      behind.insert(operand.getDefiningOp());
  }
  std::vector<char> bytes;
  std::string problem = executeRecipe(*recipe, sources.asSource(), [&](const char *data, size_t size) {
    bytes.insert(bytes.end(), data, data + size);
    return true;
  });
  if (!problem.empty())
    return llvm::createStringError(problem);
  return bytes;
}
