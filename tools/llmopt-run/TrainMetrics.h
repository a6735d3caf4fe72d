// How good predictions are, by the task that a loss stands for.
#ifndef LLMOPT_RUN_TRAINMETRICS_H
#define LLMOPT_RUN_TRAINMETRICS_H

#include "Tensor.h"

#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace llmopt::run {

/// Counts for precision, recall and F1.
struct Hits {
  uint64_t right = 0, predicted = 0, wanted = 0;
  double precision() const { return predicted ? double(right) / double(predicted) : 0; }
  double recall() const { return wanted ? double(right) / double(wanted) : 0; }
  double f1() const { return predicted + wanted ? 2 * double(right) / double(predicted + wanted) : 0; }
};

/// A chunk of a tag sequence: type and positions [first, end).
struct Chunk {
  std::string type;
  size_t first, end;
  bool operator==(const Chunk &o) const { return type == o.type && first == o.first && end == o.end; }
};

/// Chunks by the rule of conlleval (Tjong Kim Sang and Buchholz 2000): one starts at B-x,
/// or at I-x behind another type or O, and ends where the next one starts or at O.
std::vector<Chunk> findChunks(const std::vector<std::string> &tags);

/// Collects over batches; values in the order in which they are to be shown, `loss` first.
/// - cross_entropy, logits [B, C]: accuracy, precision, recall and f1, micro and macro,
///   mcc (Matthews 1975; Gorodkin 2004 for more than two classes)
/// - cross_entropy, logits [B, S, C]: the same per token; with names of classes such as
///   B-PER also entity_f1, entity_precision, entity_recall
/// - causal: perplexity and accuracy of the next token
/// - bce: f1_micro, f1_macro, exact (all labels of a row right), at a threshold of 0.5
/// - mse: mse, mae, pearson
/// - span: exact, f1 of positions
/// - kl: agreement of the most likely class with the teacher's
class Metrics {
public:
  Metrics(std::string loss, std::vector<std::string> classNames);

  /// `output`: the model's first output. `labels`: the arrays behind the model's inputs.
  void add(const llmopt_tensor_type &type, const float *output, const std::vector<const char *> &labels, double lossSum,
           double lossWeight);
  std::vector<std::pair<std::string, double>> finish() const;

  /// The metric that decides by itself, and whether more of it is better.
  std::string mainMetric() const;
  static bool isHigherBetter(const std::string &metric);

private:
  void addClass(int64_t predicted, int64_t wanted);
  void addClasses(const llmopt_tensor_type &type, const float *output, const int64_t *labels, uint64_t shift);
  void addEntities(const std::vector<std::string> &predicted, const std::vector<std::string> &wanted);

  std::string loss;
  std::vector<std::string> names;
  double lossSum = 0, lossWeight = 0;
  bool perToken = false;
  std::map<std::pair<int64_t, int64_t>, uint64_t> confusion; ///< (predicted, wanted)
  uint64_t total = 0, right = 0;
  std::map<int64_t, Hits> perLabel; ///< bce
  uint64_t rows = 0, exactRows = 0;
  std::map<std::string, Hits> entities;
  std::array<double, 7> moments{}; ///< mse: n, sum x, y, xx, yy, xy, |x - y|
  double overlap = 0;
};

} // namespace llmopt::run

#endif
