// The weights file: header, then tensors at multiples of 256 bytes.
#include "llmopt/CodeGen/Plan/WeightsFile.h"

#include "llmopt/Dialect/LM/IR/WeightStore.h"
#include "llmopt/weights.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/StringMap.h"

using namespace llmopt;
using llvm::ArrayRef;

/// The bytes of weights by name. Those whose elements are no plain bytes (splats,
/// booleans) are expanded while they are in use.
namespace {
class Sources {
public:
  explicit Sources(const PlannedModel &model) {
    for (const auto &[name, op] : model.sources)
      weights[name] = op;
  }
  const char *get(const std::string &name, std::string &error) {
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
  void release(const std::string &name) {
    expanded.erase(name);
    auto it = weights.find(name);
    if (it != weights.end() && mlir::isa<lm::FileAttr>(it->second.getSource()))
      lm::WeightStore::get(it->second.getContext()).release(it->second);
  }

private:
  /// Elements of a few bits, one in a byte each.
  const char *expand(const std::string &name, ArrayRef<char> packed, unsigned bits, bool isSigned, int64_t count) {
    std::vector<char> &bytes = expanded[name];
    unsigned perByte = 8 / bits, up = 8 - bits;
    for (int64_t i = bytes.size(); i < count; ++i) {
      auto high = static_cast<uint8_t>((static_cast<uint8_t>(packed[i / perByte]) >> (i % perByte * bits)) << up);
      bytes.push_back(static_cast<char>(isSigned ? static_cast<int8_t>(high) >> up : high >> up));
    }
    return bytes.data();
  }

  llvm::StringMap<lm::WeightOp> weights;
  llvm::StringMap<std::vector<char>> expanded;
};
} // namespace

llvm::Error WeightsWriter::write(const PlannedModel &model) {
  // In a tail the header is at a page, and so is the data behind it.
  uint64_t alignment = tail ? 4096 : 256;
  if (llvm::Error error = file.pad(alignment))
    return error;
  headerAt = file.size();
  llmopt_weights_header blank = {};
  if (llvm::Error error = file.write(ArrayRef(reinterpret_cast<const char *>(&blank), sizeof blank)))
    return error;
  if (llvm::Error error = file.pad(alignment))
    return error;
  dataAt = file.size();

  llmopt_hash hash;
  llmopt_hash_begin(&hash, 0);
  Sources sources(model);
  RecipeSource source{[&](const std::string &name, std::string &error) { return sources.get(name, error); },
                      [&](const std::string &name) { sources.release(name); }};
  static constexpr char zeros[256] = {};
  uint64_t position = 0;
  llvm::Error failure = llvm::Error::success();
  auto append = [&](const char *bytes, size_t size) {
    if (llvm::Error error = file.write(ArrayRef(bytes, size))) {
      failure = llvm::joinErrors(std::move(failure), std::move(error));
      return false;
    }
    llmopt_hash_update(&hash, bytes, size);
    position += size;
    return true;
  };
  for (auto [weight, recipe] : llvm::zip(model.tables.weights, model.recipes)) {
    if (!append(zeros, weight.offset - position))
      return failure;
    std::string problem = executeRecipe(recipe, source, append);
    if (failure)
      return failure;
    if (!problem.empty() || position != weight.offset + weight.size)
      return llvm::joinErrors(std::move(failure),
                              llvm::createStringError("cannot make weight '" + weight.name + "': " +
                                                      (problem.empty() ? "its size is wrong" : problem)));
  }
  dataHash = llmopt_hash_finish(&hash);
  return failure;
}

llvm::Error WeightsWriter::finish(const PlannedModel &model) {
  llmopt_weights_header header;
  llmopt_weights_header_init(&header, model.tables.buildId.data(), dataAt - headerAt, model.tables.weightsSize,
                             dataHash);
  if (llvm::Error error = file.overwrite(headerAt, ArrayRef(reinterpret_cast<const char *>(&header), sizeof header)))
    return error;
  if (!tail)
    return llvm::Error::success();
  char footer[16];
  std::memcpy(footer, &headerAt, 8);
  std::memcpy(footer + 8, LLMOPT_WEIGHTS_MAGIC, 8);
  return file.write(ArrayRef(footer, sizeof footer));
}
