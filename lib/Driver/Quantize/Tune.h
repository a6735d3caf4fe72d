// -tune: times of linear layers, measured on this machine and kept as data.
#ifndef LLMOPT_LIB_DRIVER_QUANTIZE_TUNE_H
#define LLMOPT_LIB_DRIVER_QUANTIZE_TUNE_H

#include "Sites.h"

#include "llmopt/CodeGen/CPU/TargetInfo.h"
#include "llmopt/Execution/Calibration.h"

#include <map>
#include <tuple>

namespace llmopt {

/// The rows of a layer's input that times are wanted for: one number for each
/// combination of the sizes in -tune. 128 where a size is not known.
llvm::Expected<std::vector<int64_t>> getRowCounts(lm::LinearOp linear, const QuantizeOptions &options);

/// Whether each size in -tune is one of @main; the error lists what there is.
llvm::Error checkTuneSizes(mlir::ModuleOp module, const QuantizeOptions &options);

/// Times by shape and format. They are those of one CPU, one instruction set and one
/// version of the kernels.
class ProductTimes {
public:
  explicit ProductTimes(const cpu::TargetInfo &target);

  struct Wanted {
    int64_t rows, k, n;
    QuantScheme scheme;
  };
  /// Seconds on one core.
  std::optional<double> find(int64_t rows, int64_t k, int64_t n, const QuantScheme &scheme) const;

  /// Numbers of rows that such a layer was timed with in float.
  std::vector<int64_t> getRows(int64_t k, int64_t n) const;

  /// What toJSON wrote. Times of another CPU or of other kernels are an error.
  llvm::Error add(llvm::StringRef json);
  std::string toJSON() const;

  /// Measures what is wanted and not there; returns how many times that were.
  llvm::Expected<int64_t> measure(llvm::ArrayRef<Wanted> wanted, const Progress &progress);

  size_t size() const { return seconds.size(); }
  /// What the times depend on.
  const std::string &getMachine() const { return machine; }

private:
  const cpu::TargetInfo &target;
  std::string machine;
  std::map<std::tuple<int64_t, int64_t, int64_t, std::string>, double> seconds;
};

} // namespace llmopt

#endif
