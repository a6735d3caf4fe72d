// The weights file: header, then tensors at multiples of 256 bytes.
#include "llmopt/CodeGen/Plan/WeightsFile.h"

#include "WeightSources.h"

#include "llmopt/weights.h"

using namespace llmopt;
using llvm::ArrayRef;

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
  WeightSources sources;
  for (const auto &[name, op] : model.sources)
    sources.add(name, op);
  RecipeSource source = sources.asSource();
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
