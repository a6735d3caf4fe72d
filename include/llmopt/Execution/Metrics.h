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
  bool isPerToken = false; ///< rows are tokens; else samples

  void append(const Answers &more);
  /// Rows [first, first + count).
  Answers slice(int64_t first, int64_t count) const;
};

/// The first output of f32 [N, C] (rows are samples) or [N, S, C] (rows are tokens;
/// those where the input `mask` is 0 do not count).
llvm::Expected<Answers> getAnswers(llvm::ArrayRef<NamedArray> outputs, llvm::ArrayRef<NamedArray> inputs,
                                   llvm::StringRef mask);

/// Labels of `rows` answers of all samples, classes below `width`: the array `labels`
/// (or `label`) of the data. Empty where the metric needs none of it.
llvm::Expected<std::vector<int64_t>> readLabels(const Dataset &data, Metric metric, int64_t rows, int64_t width);

/// For each row of `answers` the next id of `input_ids`, -100 where there is none: what
/// perplexity is about.
llvm::Expected<std::vector<int64_t>> getNextTokens(llvm::ArrayRef<NamedArray> inputs, const Answers &answers);

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

/// Answers against labels and against the original's, in any number of parts.
class Comparer {
public:
  Comparer(Metric metric, int64_t width);
  /// `labels` are empty where the metric needs none.
  void add(const Answers &answers, const Answers &original, llvm::ArrayRef<int64_t> labels);
  Comparison finish() const;

private:
  /// Answers of a class.
  struct Counts {
    int64_t label = 0, predicted = 0, right = 0, originalRight = 0;
  };
  double getMeanF1() const;

  Metric metric;
  std::vector<Counts> classes;
  int64_t rows = 0, flips = 0, labelled = 0, right = 0, onlyNow = 0, onlyBefore = 0;
  double likelihood = 0, kl = 0, cosines = 0;
};

} // namespace llmopt

#endif
