#include "llmopt/Execution/Calibration.h"

#include "llmopt/CodeGen/CPU/EmitModel.h"
#include "llmopt/CodeGen/Plan/BuildPlan.h"

#include "mlir/IR/IRMapping.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

using namespace mlir;
using namespace llmopt;

/// Samples per run: enough for kernels, few enough for the memory of all taps.
static constexpr int64_t kBatch = 4;

llvm::Expected<std::unique_ptr<InProcessModel>> llmopt::compileCopy(ModuleOp module, const cpu::TargetInfo &target,
                                                                    ArrayRef<Value> taps) {
  IRMapping mapping;
  OwningOpRef<ModuleOp> copy = cast<ModuleOp>(module->clone(mapping));
  auto main = copy->lookupSymbol<func::FuncOp>("main");
  if (!main)
    return llvm::createStringError("the module has no @main");
  auto terminator = cast<func::ReturnOp>(main.front().getTerminator());
  for (auto [i, tap] : llvm::enumerate(taps)) {
    Value value = mapping.lookup(tap);
    terminator->insertOperands(terminator->getNumOperands(), value);
    auto name = StringAttr::get(module.getContext(), "tap." + std::to_string(i));
    auto attrs = DictionaryAttr::get(module.getContext(), {NamedAttribute("lm.name", name)});
    if (failed(main.insertResult(main.getNumResults(), value.getType(), attrs)))
      return llvm::createStringError("cannot add an output to the model");
  }
  std::string said;
  ScopedDiagnosticHandler handler(module.getContext(), [&](Diagnostic &diagnostic) {
    if (said.empty() && diagnostic.getSeverity() == DiagnosticSeverity::Error)
      said = diagnostic.str();
    return success();
  });
  if (failed(buildPlan(*copy, cpu::CPUPlanTarget(target))))
    return llvm::createStringError(said.empty() ? "the model cannot be planned" : said);
  auto model = InProcessModel::compile(*copy, target);
#ifdef __GLIBC__
  malloc_trim(0); // what the compiler used is not needed while data runs
#endif
  return model;
}

/// For each row of a batch, whether its element of the mask is not 0.
static std::vector<bool> readMask(ArrayRef<NamedArray> batch, StringRef name) {
  std::vector<bool> keep;
  for (const NamedArray &array : batch)
    if (array.name == name)
      for (int64_t i = 0, count = countElements(array); i < count; ++i)
        keep.push_back(getElement(array, i) != 0);
  return keep;
}

llvm::Expected<std::vector<ActivationStatistics>>
llmopt::collectStatistics(ModuleOp module, const cpu::TargetInfo &target, ArrayRef<Value> taps,
                          ArrayRef<StatisticsOptions> options, const Dataset &data, StringRef maskName,
                          const Progress &progress) {
  std::vector<ActivationStatistics> statistics;
  for (auto [tap, option] : llvm::zip_equal(taps, options))
    statistics.emplace_back(cast<RankedTensorType>(tap.getType()).getShape().back(), option);
  auto model = compileCopy(module, target, taps);
  if (!model)
    return model.takeError();
  size_t numOutputs = module.lookupSymbol<func::FuncOp>("main").getNumResults();
  int64_t step = data.getBatchSize(kBatch);
  for (int64_t first = 0; first < data.size(); first += step) {
    int64_t count = std::min(step, data.size() - first);
    if (count < data.getBatchSize(1))
      break; // a fixed batch that the last samples do not fill
    std::vector<NamedArray> batch = data.getBatch(first, count);
    llvm::Expected<std::vector<NamedArray>> outputs = (*model)->run(batch, /*numThreads=*/0);
    if (!outputs)
      return outputs.takeError();
    std::vector<bool> keep = readMask(batch, maskName);
    for (auto [i, statistic] : llvm::enumerate(statistics)) {
      const NamedArray &tap = (*outputs)[numOutputs + i];
      int64_t rows = countElements(tap) / statistic.width;
      statistic.add(reinterpret_cast<const float *>(tap.data.data()), rows,
                    rows == static_cast<int64_t>(keep.size()) ? &keep : nullptr);
      statistic.endBatch();
    }
    if (progress)
      progress(first + count, data.size());
  }
  return statistics;
}

llvm::Error llmopt::runBatches(InProcessModel &model, const Dataset &data, int64_t limit, int64_t batchSize,
                               OnOutputs onOutputs) {
  int64_t step = data.getBatchSize(batchSize), end = std::min(limit, data.size());
  for (int64_t first = 0; first < end; first += step) {
    int64_t count = std::min(step, data.size() - first);
    if (count < data.getBatchSize(1))
      break; // a fixed batch that the last samples do not fill
    if (step > data.getBatchSize(1))
      count = std::min(count, end - first);
    std::vector<NamedArray> batch = data.getBatch(first, count);
    llvm::Expected<std::vector<NamedArray>> outputs = model.run(batch, /*numThreads=*/0);
    if (!outputs)
      return outputs.takeError();
    if (llvm::Error error = onOutputs(first, batch, *outputs))
      return error;
  }
  return llvm::Error::success();
}
