// Running a compiled copy of a model over data, and looking inside.
#ifndef LLMOPT_EXECUTION_CALIBRATION_H
#define LLMOPT_EXECUTION_CALIBRATION_H

#include "llmopt/Execution/Dataset.h"
#include "llmopt/Execution/InProcess.h"
#include "llmopt/Transforms/Quantization/Statistics.h"

#include <functional>

namespace llmopt {

/// A compiled copy of a raised module (L1), which itself stays as it is. Its
/// outputs are those of @main and, behind them, `taps`: values of @main.
llvm::Expected<std::unique_ptr<InProcessModel>> compileCopy(mlir::ModuleOp module, const cpu::TargetInfo &target,
                                                            llvm::ArrayRef<mlir::Value> taps = {});

/// Told after every batch how many samples are done.
using Progress = std::function<void(int64_t done, int64_t total)>;

/// Statistics of each of `taps`, f32 values [.., K] of @main, over all samples.
/// Padding does not count: where `maskName` is an input [B, S], a row of a tap with
/// B S rows counts only if its element of the mask is not 0. `options` has one entry
/// per tap.
llvm::Expected<std::vector<ActivationStatistics>>
collectStatistics(mlir::ModuleOp module, const cpu::TargetInfo &target, llvm::ArrayRef<mlir::Value> taps,
                  llvm::ArrayRef<StatisticsOptions> options, const Dataset &data, llvm::StringRef maskName,
                  const Progress &progress = {});

/// Told the first sample of a batch, its inputs, and what the model made of them.
using OnOutputs = llvm::function_ref<llvm::Error(int64_t first, llvm::ArrayRef<NamedArray> batch,
                                                 llvm::ArrayRef<NamedArray> outputs)>;

/// Runs a model over the first `limit` samples, `batchSize` at a time. Nothing is kept.
llvm::Error runBatches(InProcessModel &model, const Dataset &data, int64_t limit, int64_t batchSize,
                       OnOutputs onOutputs);

} // namespace llmopt

#endif
