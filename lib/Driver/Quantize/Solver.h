// Finding quantized weights and ranges, layer by layer.
#ifndef LLMOPT_LIB_DRIVER_QUANTIZE_SOLVER_H
#define LLMOPT_LIB_DRIVER_QUANTIZE_SOLVER_H

#include "Sites.h"
#include "StatisticsCache.h"

#include "llmopt/CodeGen/CPU/TargetInfo.h"
#include "llmopt/Execution/Calibration.h"

namespace llmopt {

class Solver {
public:
  using Note = std::function<void(const llvm::Twine &)>;

  /// `measure`: fill in Choice::sqnr, for which every weight is read.
  Solver(mlir::ModuleOp module, std::vector<Site> &sites, const QuantizeOptions &options, const cpu::TargetInfo &target,
         bool measure, Note note)
      : module(module), sites(sites), options(options), target(target), measure(measure), note(note),
        cache(options.getCalibCache(), target, note) {}

  /// Reads the data, runs it, and moves scales from activations into weights where
  /// SmoothQuant or AWQ ask for it. Without -calib nothing happens.
  llvm::Error calibrate(const Progress &progress);

  /// What layer `i` becomes under `scheme`. The weight is solved once per scheme.
  llvm::Expected<Choice> solve(size_t i, const QuantScheme &scheme);

private:
  llvm::Expected<WeightMatrix> readMatrix(size_t i) const;
  llvm::Error runCalibration(const Progress &progress);
  llvm::Error collect(bool gram, llvm::ArrayRef<mlir::Value> inputs, const Progress &progress);
  llvm::Error migrate();
  GridOptions getGrid(const QuantScheme &scheme) const;

  mlir::ModuleOp module;
  std::vector<Site> &sites;
  const QuantizeOptions &options;
  const cpu::TargetInfo &target;
  bool measure;
  Note note;
  StatisticsCache cache;

  std::optional<Dataset> data;
  llvm::DenseMap<mlir::Value, ActivationStatistics> statistics; ///< by input of a layer
  std::map<std::pair<size_t, std::string>, Choice> solved;
  DerivedWeights store;
};

} // namespace llmopt

#endif
