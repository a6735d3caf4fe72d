// Statistics of calibration, kept between runs of the compiler.
#ifndef LLMOPT_LIB_DRIVER_QUANTIZE_STATISTICSCACHE_H
#define LLMOPT_LIB_DRIVER_QUANTIZE_STATISTICSCACHE_H

#include "llmopt/CodeGen/CPU/TargetInfo.h"
#include "llmopt/Execution/Calibration.h"
#include "llmopt/Support/CacheFolder.h"

#include <functional>

namespace llmopt {

/// Entries depend on the graph and the bytes of the weights (not on where they lie), the
/// samples, the mask, which statistics of which values were asked for, the target
/// and this program: a hit is what calibration would compute again, bit for bit.
class StatisticsCache {
public:
  /// An empty folder: off. `warn` hears what is wrong with the cache, once: it never
  /// keeps a model from being calibrated.
  StatisticsCache(llvm::StringRef folder, const cpu::TargetInfo &target, std::function<void(const llvm::Twine &)> warn)
      : folder(folder), target(target), warn(std::move(warn)) {}

  CacheFolder::Key getKey(mlir::ModuleOp module, llvm::ArrayRef<mlir::Value> taps, const StatisticsOptions &options,
                          const Dataset &data, llvm::StringRef maskName);

  bool isOn() const { return folder.isOn(); }
  /// Statistics of `count` values, or none.
  std::optional<std::vector<ActivationStatistics>> find(const CacheFolder::Key &key, size_t count);
  void keep(const CacheFolder::Key &key, llvm::ArrayRef<ActivationStatistics> statistics);
  /// What was kept becomes visible to others: when all of calibration is done.
  void commit();

  int64_t hits = 0, misses = 0;
  llvm::StringRef getPath() const { return folder.getPath(); }

private:
  void complain(llvm::Error error);
  std::string hashWeights(mlir::ModuleOp module);
  std::string hashData(const Dataset &data);

  CacheFolder folder;
  const cpu::TargetInfo &target;
  std::function<void(const llvm::Twine &)> warn;
  bool complained = false;
  std::string weights, samples; ///< their hashes: both stay as they are
};

} // namespace llmopt

#endif
