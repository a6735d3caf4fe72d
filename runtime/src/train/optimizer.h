// What turns gradients into new weights. All state is f32 and in place; sums over
// elements have a fixed order, so that bits do not depend on how many threads work.
#ifndef LLMOPT_RT_TRAIN_OPTIMIZER_H
#define LLMOPT_RT_TRAIN_OPTIMIZER_H

#include "../pool.h"

namespace llmopt::rt {

enum class OptimizerKind : uint32_t {
  AdamW = 1, ///< Kingma and Ba 2015, decay apart from the gradient (Loshchilov and Hutter 2019)
  Adam = 2,  ///< the same moments, no decay unless it is coupled
  SGD = 3    ///< with momentum, perhaps Nesterov's
};

/// How weight_decay enters.
enum class DecayMode : uint32_t {
  Decoupled = 0, ///< w -= lr * decay * w, beside the step
  L2 = 1         ///< g += decay * w, before any moment: the gradient of decay/2 |w|^2
};

/// One step's hyper-parameters; any of them may change from step to step.
struct OptimizerSettings {
  OptimizerKind kind = OptimizerKind::AdamW;
  DecayMode decayMode = DecayMode::Decoupled;
  double learningRate = 2e-5, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double weightDecay = 0.01, momentum = 0.0;
  bool nesterov = false;
};

/// A trainable tensor and what the optimizer keeps for it.
struct Parameter {
  float *value, *gradient;
  float *first;  ///< mean of gradients (Adam), velocity (SGD with momentum), or null
  float *second; ///< mean of squares (Adam), or null
  uint64_t count;
  double rateScale; ///< times the learning rate
  bool decays;      ///< biases and norms usually do not
};

class Optimizer {
public:
  /// Takes a copy of the list; memory for sums is made here, none later.
  [[nodiscard]] bool prepare(const Parameter *parameters, uint32_t count);

  /// sqrt of the sum of squares of all gradients times `scale`; not finite where one
  /// of them is not. Sums are f64, per block of 16384 elements, then in order.
  double gradientNorm(Pool &pool, double scale);

  /// One update with the gradients times `scale` (1 / the sum of loss weights, times
  /// what clipping leaves). `step` counts updates from 1.
  void update(Pool &pool, const OptimizerSettings &settings, double scale, uint64_t step);

  /// gradient += more[i], for every parameter i.
  void addGradients(Pool &pool, float *const *more);

  void setRateScale(uint32_t i, double scale) { parameters[i].rateScale = scale; }

  uint32_t size() const { return static_cast<uint32_t>(parameters.size()); }
  const Parameter &operator[](uint32_t i) const { return parameters[i]; }

private:
  struct Block {
    uint32_t parameter;
    uint64_t first, count;
  };
  using Work = void (*)(Optimizer &optimizer, const Block &block, uint64_t index);

  void runBlocks(Pool &pool, Work work);
  static void runTile(void *const *args, const int64_t *dims, int64_t tile, void *scratch);

  Array<Parameter> parameters;
  Array<Block> blocks;
  Array<double> partial; // one per block
  float *const *added = nullptr;
  OptimizerSettings settings;
  double gradientScale = 1, correction1 = 1, correction2 = 1;
  uint64_t stepCount = 0;
};

/// The learning rate of update `step` (from 1) of `total`: linear from 0 over the
/// first `warmup` updates, then
///   constant:  rate
///   linear:    down to `least` at `total`
///   cosine:    least + (rate - least) (1 + cos(pi x)) / 2, x the share that is done
enum class Schedule : uint32_t { Constant = 0, Linear = 1, Cosine = 2 };
double scheduledRate(Schedule schedule, double rate, double least, uint64_t step, uint64_t warmup, uint64_t total);

/// What a gradient of norm `norm` is multiplied with so that it is at most `limit`;
/// 1 where `limit` is 0.
double clipScale(double norm, double limit);

} // namespace llmopt::rt

#endif
