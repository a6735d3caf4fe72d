// The time of each layer in each format: measured with -tune, else estimated.
#ifndef LLMOPT_LIB_DRIVER_QUANTIZE_LAYERTIMES_H
#define LLMOPT_LIB_DRIVER_QUANTIZE_LAYERTIMES_H

#include "Tune.h"

#include "llmopt/Support/CacheFolder.h"

namespace llmopt {

class LayerTimes {
public:
  using Note = std::function<void(const llvm::Twine &)>;
  /// Estimates for `target`, until tune() says better.
  LayerTimes(llvm::ArrayRef<Site> sites, const cpu::TargetInfo &target);

  /// -tune and -tune-file: reads what was measured before, measures the rest, keeps it.
  llvm::Error tune(mlir::ModuleOp module, const QuantizeOptions &options, llvm::ArrayRef<QuantScheme> schemes,
                   const Progress &progress, const Note &note);

  struct Times {
    double seconds = 0, floatSeconds = 0; ///< of one core
    bool measured = false;                ///< both; else both are estimated
  };
  Times get(size_t layer, const QuantScheme &scheme) const;

  /// By layer: rows of its input that times are for, or the mean of them is.
  std::vector<std::vector<int64_t>> rows;

private:
  llvm::Error read(const QuantizeOptions &options, const CacheFolder::Key &key, CacheFolder &cache, const Note &note);

  llvm::ArrayRef<Site> sites;
  const cpu::TargetInfo &target;
  std::optional<ProductTimes> times;
};

} // namespace llmopt

#endif
