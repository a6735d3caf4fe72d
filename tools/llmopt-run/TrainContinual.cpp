#include "TrainContinual.h"

#include <algorithm>
#include <cmath>

using namespace llmopt::run;

namespace {
constexpr uint64_t kFisherExamples = 256;
}

Replay::Replay(const std::string &path, const llmopt_trainer *trainer, double ratio, const TrainOptions &options)
    : data(path, trainer), ratio(ratio), seed(options.seed) {}

const Batch &Replay::take(uint64_t index, uint64_t examples) {
  Random random((seed + 0x51ED270B) * 0x9E3779B97F4A7C15u + index);
  std::vector<uint32_t> rows(std::max<uint64_t>(1, uint64_t(std::llround(ratio * double(examples)))));
  for (uint32_t &row : rows)
    row = uint32_t(random.below(data.size()));
  return data.take(rows);
}

Consolidation::Consolidation(const std::string &path, llmopt_trainer *trainer, double lambda,
                             const TrainOptions &options)
    : lambda(lambda) {
  llmopt_error error;
  for (uint32_t i = 0; i < llmopt_trainer_num_parameters(trainer); ++i) {
    llmopt_parameter_info info = {};
    info.struct_size = sizeof(info);
    check(llmopt_trainer_get_parameter(trainer, i, &info, &error), error);
    parameters.push_back({info.value, info.gradient, std::vector<float>(info.value, info.value + info.count),
                          std::vector<float>(info.count)});
  }
  TrainData data(path, trainer);
  std::vector<std::vector<uint32_t>> order = data.makeOrder(Order::Shuffled, 1, options.seed, 0);
  order.resize(std::min<size_t>(order.size(), kFisherExamples));
  uint64_t counted = 0;
  for (const std::vector<uint32_t> &row : order) {
    const Batch &batch = data.take(row);
    llmopt_loss loss;
    check(llmopt_trainer_bind(trainer, batch.types.data(), batch.types.size(), &error), error);
    check(llmopt_trainer_accumulate(trainer, batch.inputs.data(), batch.inputs.size(), &loss, &error), error);
    if (loss.weight > 0) {
      ++counted;
      const double scale = 1 / loss.weight;
      for (Parameter &p : parameters)
        for (size_t k = 0; k < p.importance.size(); ++k) {
          double g = scale * double(p.gradient[k]);
          p.importance[k] += float(g * g);
        }
    }
    check(llmopt_trainer_discard(trainer, &error), error);
  }
  if (counted == 0)
    throw Failure{BadData, path + ": expected examples with labels for --ewc"};
  double sum = 0, elements = 0;
  for (const Parameter &p : parameters)
    for (float f : p.importance) {
      sum += f;
      ++elements;
    }
  if (!(sum > 0) || !std::isfinite(sum))
    throw Failure{BadData, path + ": expected gradients for --ewc that are finite and not all zero"};
  for (Parameter &p : parameters)
    for (float &f : p.importance)
      f = float(f * (elements / sum));
}

double Consolidation::add(double weight) const {
  double penalty = 0;
  const float scale = float(lambda * weight);
  for (const Parameter &p : parameters)
    for (size_t k = 0; k < p.old.size(); ++k) {
      const float moved = p.value[k] - p.old[k];
      p.gradient[k] += scale * p.importance[k] * moved;
      penalty += 0.5 * lambda * double(p.importance[k]) * double(moved) * double(moved);
    }
  return penalty;
}

uint64_t Consolidation::bytes() const {
  uint64_t sum = 0;
  for (const Parameter &p : parameters)
    sum += 2 * p.old.size() * sizeof(float);
  return sum;
}
