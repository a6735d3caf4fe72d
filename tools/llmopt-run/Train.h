// --train, --eval and --gradcheck.
#ifndef LLMOPT_RUN_TRAIN_H
#define LLMOPT_RUN_TRAIN_H

#include "Session.h"
#include "TrainData.h"

namespace llmopt::run {

struct DestroyTrainer {
  void operator()(llmopt_trainer *trainer) const { llmopt_trainer_destroy(trainer); }
};
using Trainer = std::unique_ptr<llmopt_trainer, DestroyTrainer>;

/// With the hyper-parameters of the loss set.
Trainer openTrainer(llmopt_model *model, const Options &options);

/// Fine-tunes with --train, measures with --eval alone.
void train(llmopt_model *model, const Options &options);

/// Compares the gradient of every parameter with differences of the loss, along the
/// gradient and along a random direction, on the first batch of --train. Throws a
/// Failure where they differ.
void gradcheck(llmopt_model *model, const Options &options);

} // namespace llmopt::run

#endif
