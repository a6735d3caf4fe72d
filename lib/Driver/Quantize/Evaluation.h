// What quantized copies of a model are worth on -eval, against the model itself.
#ifndef LLMOPT_LIB_DRIVER_QUANTIZE_EVALUATION_H
#define LLMOPT_LIB_DRIVER_QUANTIZE_EVALUATION_H

#include "Sites.h"

#include "llmopt/CodeGen/CPU/TargetInfo.h"
#include "llmopt/Execution/Calibration.h"
#include "llmopt/Execution/Metrics.h"

namespace llmopt {

/// Answers per sample are few, and those of the original are kept. Answers per token
/// (logits over a vocabulary) are as large as a model: both models run side by side
/// then, batch by batch, and only sums are left.
class Evaluation {
public:
  Evaluation(mlir::ModuleOp module, const QuantizeOptions &options, const cpu::TargetInfo &target)
      : module(module), options(options), target(target) {}

  /// Reads the data, chooses the metric, runs the model as it is now.
  llvm::Error prepare();

  Metric metric = Metric::KL;
  double before = 0; ///< the metric of the original

  /// A copy of the module as it is now with `choices`. `seconds`, where not null: of a
  /// run of the first sample, the median of five.
  llvm::Expected<Comparison> compare(llvm::ArrayRef<Choice> choices, double *seconds);
  /// Divergence of its outputs from those without choices, on a part of the data, in
  /// nats: enough to order layers.
  llvm::Expected<double> getDamage(llvm::ArrayRef<Choice> choices);

private:
  using OnBatch = llvm::function_ref<llvm::Error(int64_t first, llvm::ArrayRef<NamedArray> batch, Answers &&answers)>;
  llvm::Error forEachBatch(InProcessModel &model, int64_t limit, OnBatch onBatch);
  llvm::Expected<std::vector<int64_t>> getLabels(int64_t first, llvm::ArrayRef<NamedArray> batch,
                                                 const Answers &answers);
  llvm::Expected<std::unique_ptr<InProcessModel>> compile(llvm::ArrayRef<Choice> choices);
  /// What others are compared with.
  struct Reference {
    std::unique_ptr<InProcessModel> model; ///< where answers are per token
    Answers kept;                          ///< where they are per sample
  };
  llvm::Expected<Comparison> compareModel(InProcessModel &model, const Reference &reference, Metric metric,
                                          int64_t limit);

  mlir::ModuleOp module;
  const QuantizeOptions &options;
  const cpu::TargetInfo &target;
  std::optional<Dataset> data;
  Reference original;
  std::optional<Reference> undamaged; ///< the module when damage was first asked for
  bool perToken = false;
  std::vector<int64_t> labels; ///< of all rows, where they are part of the data
};

} // namespace llmopt

#endif
