// The loops over elements of an optimizer. The same arithmetic in the same order on every
// instruction set: no contraction, IEEE square roots and divisions, so that bits agree.
#ifndef LLMOPT_RT_TRAIN_OPTIMIZER_LOOPS_H
#define LLMOPT_RT_TRAIN_OPTIMIZER_LOOPS_H

#include <cstdint>

namespace llmopt::rt {

/// Plain numbers of one update.
struct OptimizerFactors {
  float scale;   ///< of gradients
  float coupled; ///< decay that enters the gradient
  float kept;    ///< 1 - what is taken off beside the gradient
  float rate;
  float beta1, beta2, rest1, rest2;
  float epsilon, root, step; ///< w -= step m / (sqrt(v) / root + epsilon)
  float momentum, velocity;  ///< the latter: what is kept of it, 0 in the first step
  bool nesterov;
};

struct OptimizerLoops {
  void (*adam)(float *w, float *m, float *v, const float *g, uint64_t count, const OptimizerFactors &f);
  /// `velocity` is null without momentum.
  void (*sgd)(float *w, float *velocity, const float *g, uint64_t count, const OptimizerFactors &f);
  /// In f64: eight chains of sums, element i into chain i % 8, added in order.
  double (*sumOfSquares)(const float *g, uint64_t count);
  void (*add)(float *to, const float *from, uint64_t count);
};

/// The fastest for this machine.
const OptimizerLoops &optimizerLoops();

} // namespace llmopt::rt

#endif
