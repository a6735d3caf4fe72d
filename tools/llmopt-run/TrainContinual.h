// Learning something new without losing what was learned before.
#ifndef LLMOPT_RUN_TRAINCONTINUAL_H
#define LLMOPT_RUN_TRAINCONTINUAL_H

#include "TrainData.h"

#include <memory>

namespace llmopt::run {

/// Examples of old data beside every batch of new ones.
class Replay {
public:
  /// `ratio` of old examples to new ones.
  Replay(const std::string &path, const llmopt_trainer *trainer, double ratio, const TrainOptions &options);

  /// The old examples for batch number `index` of all, of a batch of `examples` new ones.
  /// Which ones follows from the seed and the number alone.
  const Batch &take(uint64_t index, uint64_t examples);

private:
  TrainData data;
  double ratio;
  uint64_t seed;
};

/// Elastic weight consolidation (Kirkpatrick et al. 2017): lambda / 2 sum F (w - w0)^2 is
/// added to the loss, w0 being the weights when this object is made, and F the mean
/// square of the gradients of single old examples, the diagonal of Fisher's information
/// with the labels as they are, divided by its mean: a model that knows its old examples
/// well has small gradients, and lambda would mean nothing.
class Consolidation {
public:
  /// Takes up to 256 examples of `path` one by one.
  Consolidation(const std::string &path, llmopt_trainer *trainer, double lambda, const TrainOptions &options);

  /// Adds the gradient of the penalty to the sum of gradients of labels that weigh
  /// `weight`; the penalty itself.
  double add(double weight) const;
  uint64_t bytes() const;

private:
  struct Parameter {
    float *value, *gradient;
    std::vector<float> old, importance;
  };
  std::vector<Parameter> parameters;
  double lambda;
};

} // namespace llmopt::run

#endif
