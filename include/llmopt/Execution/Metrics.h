// What a model's answers are worth, against labels or against another model.
#ifndef LLMOPT_EXECUTION_METRICS_H
#define LLMOPT_EXECUTION_METRICS_H

#include "llmopt/Execution/Dataset.h"

#include <optional>

namespace llmopt {

/// Accuracy: share of samples whose largest logit is the label's. F1: mean over
/// classes of 2 P R / (P + R). Cosine: mean cosine to the original model's output.
/// Perplexity: exp of the mean negative log likelihood of the next token; lower is
/// better. KL: mean divergence in nats of softmaxed outputs from the original's;
/// lower is better. Top1: share of samples with the original's largest logit.
enum class Metric { Accuracy, F1, Cosine, Perplexity, KL, Top1 };

std::optional<Metric> parseMetric(llvm::StringRef name);
llvm::StringRef getMetricName(Metric metric);
/// "accuracy, f1, ..."
std::string getMetricNames();
bool needsLabels(Metric metric);
/// -1 where less is better, else 1.
int getDirection(Metric metric);

/// Logits or embeddings of all samples: rows of `width` floats.
struct Answers {
  int64_t rows = 0, width = 0;
  std::vector<float> values;
  /// Rows that count; empty: all.
  std::vector<bool> keep;
};

/// The first output of f32 [N, C] (rows are samples) or [N, S, C] (rows are tokens;
/// those where the input `mask` is 0 do not count).
llvm::Expected<Answers> getAnswers(llvm::ArrayRef<NamedArray> outputs, const Dataset &data, llvm::StringRef mask);

/// Labels as integers, one per row of answers: the array `labels` (or `label`) of the
/// data; for perplexity the next ids of `input_ids`, -100 where there is none.
llvm::Expected<std::vector<int64_t>> getLabels(const Dataset &data, Metric metric, const Answers &answers);

struct Comparison {
  double value = 0;          ///< of the metric
  int64_t rows = 0;          ///< that counted
  int64_t flips = 0;         ///< rows whose largest logit differs from the original's
  double worstClassLoss = 0; ///< the largest fall of the recall of a class, a part of 1
  int64_t worstClass = -1;
  /// Half of the 95 % interval of the difference of accuracies, paired by samples.
  double interval = 0;
  double kl = 0, cosine = 1;
};

/// `answers` against `labels` (empty where the metric needs none) and the original's.
Comparison compare(Metric metric, const Answers &answers, const Answers &original, llvm::ArrayRef<int64_t> labels);

} // namespace llmopt

#endif
