#include "Evaluation.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <chrono>

using namespace mlir;
using namespace llmopt;

/// Samples of one run.
static constexpr int64_t kBatch = 8;
/// Samples that order layers.
static constexpr int64_t kFewSamples = 64;

llvm::Error Evaluation::forEachBatch(InProcessModel &model, int64_t limit, OnBatch onBatch) {
  return runBatches(model, *data, limit, kBatch,
                    [&](int64_t first, ArrayRef<NamedArray> batch, ArrayRef<NamedArray> outputs) -> llvm::Error {
                      llvm::Expected<Answers> answers = getAnswers(outputs, batch, options.mask);
                      if (!answers)
                        return answers.takeError();
                      return onBatch(first, batch, std::move(*answers));
                    });
}

llvm::Expected<std::vector<int64_t>> Evaluation::getLabels(int64_t first, ArrayRef<NamedArray> batch,
                                                           const Answers &answers) {
  if (metric == Metric::Perplexity)
    return getNextTokens(batch, answers);
  if (labels.empty())
    return std::vector<int64_t>();
  int64_t perSample = answers.rows / batch.front().dims[0];
  auto begin = labels.begin() + first * perSample;
  return std::vector<int64_t>(begin, begin + answers.rows);
}

llvm::Error Evaluation::prepare() {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  llvm::Expected<Dataset> read = Dataset::read(options.eval, main);
  if (!read)
    return read.takeError();
  data = std::move(*read);
  metric = !options.metrics.empty()                      ? options.metrics.front()
           : data->find("labels") || data->find("label") ? Metric::Accuracy
                                                         : Metric::Top1;
  auto model = compile({});
  if (!model)
    return model.takeError();
  std::optional<Comparer> comparer;
  llvm::Error error = forEachBatch(
      **model, data->size(), [&](int64_t first, ArrayRef<NamedArray> batch, Answers &&answers) -> llvm::Error {
        int64_t count = batch.front().dims[0];
        if (!comparer) {
          perToken = answers.isPerToken;
          comparer.emplace(metric, answers.width);
          int64_t samples = data->size() - data->size() % data->getBatchSize(1);
          llvm::Expected<std::vector<int64_t>> all =
              readLabels(*data, metric, answers.rows / count * samples, answers.width);
          if (!all)
            return llvm::createStringError(options.eval + ": " + llvm::toString(all.takeError()));
          labels = std::move(*all);
        }
        llvm::Expected<std::vector<int64_t>> now = getLabels(first, batch, answers);
        if (!now)
          return llvm::createStringError(options.eval + ": " + llvm::toString(now.takeError()));
        comparer->add(answers, answers, *now);
        if (!perToken)
          original.kept.append(answers);
        return llvm::Error::success();
      });
  if (error)
    return error;
  before = comparer->finish().value;
  if (perToken)
    original.model = std::move(*model);
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<InProcessModel>> Evaluation::compile(ArrayRef<Choice> choices) {
  OwningOpRef<ModuleOp> copy = module.clone();
  if (!choices.empty())
    applyChoices(*copy, choices);
  return compileCopy(*copy, target);
}

llvm::Expected<Comparison> Evaluation::compareModel(InProcessModel &model, const Reference &reference, Metric wanted,
                                                    int64_t limit) {
  std::optional<Comparer> comparer;
  llvm::Error error =
      forEachBatch(model, limit, [&](int64_t first, ArrayRef<NamedArray> batch, Answers &&answers) -> llvm::Error {
        if (!comparer)
          comparer.emplace(wanted, answers.width);
        Answers expected;
        if (reference.model) {
          llvm::Expected<std::vector<NamedArray>> outputs = reference.model->run(batch, /*numThreads=*/0);
          if (!outputs)
            return outputs.takeError();
          llvm::Expected<Answers> own = getAnswers(*outputs, batch, options.mask);
          if (!own)
            return own.takeError();
          expected = std::move(*own);
        } else {
          expected = reference.kept.slice(first, answers.rows);
        }
        llvm::Expected<std::vector<int64_t>> now = getLabels(first, batch, answers);
        if (!now)
          return now.takeError();
        comparer->add(answers, expected, *now);
        return llvm::Error::success();
      });
  if (error)
    return std::move(error);
  return comparer->finish();
}

llvm::Expected<Comparison> Evaluation::compare(ArrayRef<Choice> choices, double *seconds) {
  auto model = compile(choices);
  if (!model)
    return model.takeError();
  if (seconds) {
    std::vector<double> times;
    std::vector<NamedArray> first = data->getBatch(0, data->getBatchSize(1));
    for (int i = 0; i < 6; ++i) {
      auto start = std::chrono::steady_clock::now();
      if (auto outputs = (*model)->run(first, /*numThreads=*/0); !outputs)
        return outputs.takeError();
      times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    times.erase(times.begin());
    llvm::sort(times);
    *seconds = times[times.size() / 2];
  }
  return compareModel(**model, original, metric, data->size());
}

llvm::Expected<double> Evaluation::getDamage(ArrayRef<Choice> choices) {
  auto model = compile(choices);
  if (!model)
    return model.takeError();
  if (!undamaged) {
    auto plain = compile({});
    if (!plain)
      return plain.takeError();
    undamaged.emplace();
    if (perToken)
      undamaged->model = std::move(*plain);
    else if (llvm::Error error = forEachBatch(**plain, kFewSamples,
                                              [&](int64_t, ArrayRef<NamedArray>, Answers &&answers) -> llvm::Error {
                                                undamaged->kept.append(answers);
                                                return llvm::Error::success();
                                              }))
      return std::move(error);
  }
  llvm::Expected<Comparison> result = compareModel(**model, *undamaged, Metric::KL, kFewSamples);
  if (!result)
    return result.takeError();
  return std::max(0.0, result->kl);
}
