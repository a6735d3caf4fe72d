#include "StatisticsCache.h"

#include "llmopt/Dialect/LM/IR/WeightStore.h"

#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Config/llvm-config.h"

using namespace mlir;
using namespace llmopt;

/// Raised when entries mean something else than before.
static constexpr int64_t kFormat = 1;

static std::string toText(CacheKey &key) { return llvm::toHex(key.getDigest()); }

/// The bytes of all weights in order; empty where one cannot be read.
std::string StatisticsCache::hashWeights(ModuleOp module) {
  CacheKey key;
  lm::WeightStore &store = lm::WeightStore::get(module.getContext());
  bool good = true;
  module.walk([&](lm::WeightOp weight) {
    if (isa<DenseElementsAttr>(weight.getSource()))
      return; // part of the text
    llvm::Expected<ArrayRef<char>> bytes = store.getBytes(weight);
    if (!bytes) {
      llvm::consumeError(bytes.takeError()); // compiling will say so
      good = false;
      return;
    }
    key.add(StringRef(bytes->data(), bytes->size()));
    store.release(weight);
  });
  return good ? toText(key) : "";
}

std::string StatisticsCache::hashData(const Dataset &data) {
  CacheKey key;
  constexpr int64_t kStep = 64; // samples that are copied at a time
  for (int64_t first = 0; first < data.size(); first += kStep)
    for (const NamedArray &array : data.getBatch(first, std::min(kStep, data.size() - first))) {
      key.add(array.name).add(array.dtype);
      for (int64_t dim : array.dims)
        key.add(dim);
      key.add(StringRef(array.data.data(), array.data.size()));
    }
  return toText(key);
}

/// The graph as text, without the files that weights come from.
static std::string printGraph(ModuleOp module) {
  OwningOpRef<ModuleOp> copy = module.clone();
  copy->walk([&](lm::WeightOp weight) {
    if (!isa<DenseElementsAttr>(weight.getSource()))
      weight.setSourceAttr(UnitAttr::get(module.getContext()));
  });
  std::string text;
  llvm::raw_string_ostream os(text);
  copy->print(os, OpPrintingFlags().assumeVerified().printGenericOpForm());
  return text;
}

CacheFolder::Key StatisticsCache::getKey(ModuleOp module, ArrayRef<Value> taps, const StatisticsOptions &options,
                                         const Dataset &data, StringRef maskName) {
  if (weights.empty())
    weights = hashWeights(module);
  if (weights.empty() || getProgramHash().empty())
    folder = CacheFolder(); // nothing that an entry could be known by
  if (samples.empty())
    samples = hashData(data);
  CacheKey key;
  key.add("statistics").add(kFormat).add(getProgramHash()).add(LLVM_VERSION_STRING).add(getLinearAlgebraName());
  key.add(target.triple).add(target.cpu).add(target.features);
  key.add(printGraph(module)).add(weights).add(samples).add(maskName);
  key.add(options.gram).add(options.sampleRows);
  // A value by the place of what defines it.
  llvm::DenseMap<Operation *, int64_t> places;
  module.walk<WalkOrder::PreOrder>([&](Operation *op) { places[op] = static_cast<int64_t>(places.size()); });
  for (Value tap : taps) {
    Operation *op = tap.getDefiningOp();
    key.add(op ? places.lookup(op) : -1);
    key.add(op ? static_cast<int64_t>(cast<OpResult>(tap).getResultNumber())
               : static_cast<int64_t>(cast<BlockArgument>(tap).getArgNumber()));
  }
  return key.getDigest();
}

void StatisticsCache::complain(llvm::Error error) {
  std::string message = llvm::toString(std::move(error));
  if (!complained)
    warn("warning: -calib-cache: " + llvm::Twine(message));
  complained = true;
}

std::optional<std::vector<ActivationStatistics>> StatisticsCache::find(const CacheFolder::Key &key, size_t count) {
  ++misses;
  llvm::Expected<CacheFolder::Entry> entry = folder.find(key);
  if (!entry) {
    complain(entry.takeError());
    return std::nullopt;
  }
  if (!entry->buffer)
    return std::nullopt;
  std::vector<ActivationStatistics> statistics;
  StringRef bytes = entry->bytes;
  for (size_t i = 0; i < count; ++i) {
    std::optional<ActivationStatistics> one = ActivationStatistics::load(bytes);
    if (!one)
      break;
    statistics.push_back(std::move(*one));
  }
  if (statistics.size() != count || !bytes.empty()) {
    complain(llvm::createStringError("an entry is damaged: expected statistics of " + llvm::Twine(count) + " values"));
    return std::nullopt;
  }
  --misses;
  ++hits;
  return statistics;
}

void StatisticsCache::keep(const CacheFolder::Key &key, ArrayRef<ActivationStatistics> statistics) {
  std::string bytes;
  for (const ActivationStatistics &one : statistics)
    one.save(bytes);
  if (llvm::Error error = folder.keep(key, bytes))
    complain(std::move(error));
}

void StatisticsCache::commit() {
  if (llvm::Error error = folder.commit())
    complain(std::move(error));
}
