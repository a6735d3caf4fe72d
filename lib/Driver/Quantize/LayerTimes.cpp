#include "LayerTimes.h"

#include "llmopt/CodeGen/CPU/CostTable.h"
#include "llmopt/Support/AtomicFile.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace mlir;
using namespace llmopt;

/// Rows of a typical run: what estimates are made for.
static constexpr int64_t kRows = 128;

LayerTimes::LayerTimes(ArrayRef<Site> sites, const cpu::TargetInfo &target)
    : rows(sites.size(), {kRows}), sites(sites), target(target) {}

static cpu::Product getProduct(const QuantScheme &scheme) {
  if (scheme.isFloat())
    return cpu::Product::Float;
  if (scheme.weight == QuantScheme::Weight::Int8 && scheme.input == QuantScheme::Input::Float)
    return cpu::Product::Int4Weights; // the same kernel
  if (scheme.weight == QuantScheme::Weight::Int8)
    return scheme.input == QuantScheme::Input::Static ? cpu::Product::Int8Static : cpu::Product::Int8;
  return scheme.input == QuantScheme::Input::Float ? cpu::Product::Int4Weights : cpu::Product::Int4;
}

/// The mean over the numbers of rows: measured where all of it was, in this format and
/// in float, else estimated.
LayerTimes::Times LayerTimes::get(size_t i, const QuantScheme &scheme) const {
  const Site &site = sites[i];
  Times result;
  result.measured = times.has_value();
  for (int64_t count : rows[i])
    result.measured = result.measured && times->find(count, site.k, site.n, scheme) &&
                      times->find(count, site.k, site.n, QuantScheme());
  double seconds = 0, floatSeconds = 0;
  for (int64_t count : rows[i]) {
    seconds += result.measured ? *times->find(count, site.k, site.n, scheme)
                               : cpu::estimateProduct(target, getProduct(scheme), count, site.k, site.n);
    floatSeconds += result.measured ? *times->find(count, site.k, site.n, QuantScheme())
                                    : cpu::estimateProduct(target, cpu::Product::Float, count, site.k, site.n);
  }
  result.seconds = seconds / static_cast<double>(rows[i].size());
  result.floatSeconds = floatSeconds / static_cast<double>(rows[i].size());
  return result;
}

/// What is known before anything is measured: -tune-file, or else the cache.
llvm::Error LayerTimes::read(const QuantizeOptions &options, const CacheFolder::Key &key, CacheFolder &cache,
                             const Note &note) {
  if (!options.tuneFile.empty()) {
    if (options.tune && !llvm::sys::fs::exists(options.tuneFile))
      return llvm::Error::success(); // it is made
    auto buffer = llvm::MemoryBuffer::getFile(options.tuneFile);
    if (!buffer)
      return llvm::createStringError(buffer.getError(), options.tuneFile + ": " + buffer.getError().message());
    if (llvm::Error error = times->add((*buffer)->getBuffer()))
      return llvm::createStringError(options.tuneFile + ": " + llvm::toString(std::move(error)));
    return llvm::Error::success();
  }
  llvm::Expected<CacheFolder::Entry> entry = cache.find(key);
  llvm::Error error = entry ? llvm::Error::success() : entry.takeError();
  if (!error && entry->buffer)
    error = times->add(entry->bytes);
  if (error) // never a reason not to compile
    note("warning: -calib-cache: " + llvm::toString(std::move(error)));
  return llvm::Error::success();
}

llvm::Error LayerTimes::tune(ModuleOp module, const QuantizeOptions &options, ArrayRef<QuantScheme> schemes,
                             const Progress &progress, const Note &note) {
  if (llvm::Error error = checkTuneSizes(module, options))
    return error;
  times.emplace(target);
  CacheFolder cache(options.getCalibCache());
  CacheFolder::Key key = CacheKey().add("tune").add(times->getMachine()).getDigest();
  if (llvm::Error error = read(options, key, cache, note))
    return error;
  std::vector<ProductTimes::Wanted> wanted;
  for (auto [i, site] : llvm::enumerate(sites)) {
    llvm::Expected<std::vector<int64_t>> counts = getRowCounts(site.linear, options);
    if (!counts)
      return counts.takeError();
    std::vector<int64_t> known = options.tune ? std::vector<int64_t>() : times->getRows(site.k, site.n);
    rows[i] = known.empty() ? std::move(*counts) : std::move(known);
    if (!site.reason.empty())
      continue;
    for (int64_t count : rows[i]) {
      wanted.push_back({count, site.k, site.n, QuantScheme()});
      for (const QuantScheme &scheme : schemes)
        if (!whyNot(site.linear, scheme))
          wanted.push_back({count, site.k, site.n, scheme});
    }
  }
  if (!options.tune || !cpu::runsOnHost(target)) // then there is a file, and what it lacks is estimated
    return llvm::Error::success();
  llvm::Expected<int64_t> count = times->measure(wanted, progress);
  if (!count)
    return count.takeError();
  if (*count == 0) {
    note("-tune: all times from " +
         (options.tuneFile.empty() ? "the cache in " + cache.getPath().str() : options.tuneFile));
    return llvm::Error::success();
  }
  std::string text = times->toJSON();
  if (!options.tuneFile.empty())
    return writeFileAtomically(options.tuneFile, ArrayRef(text.data(), text.size()));
  llvm::Error error = cache.keep(key, text);
  if (!error)
    error = cache.commit();
  if (error)
    note("warning: -calib-cache: " + llvm::toString(std::move(error)));
  return llvm::Error::success();
}
