// A trainer: parameters and their moments, and sessions of the two entries of a model.
#ifndef LLMOPT_RT_TRAIN_TRAINER_H
#define LLMOPT_RT_TRAIN_TRAINER_H

#include "llmopt/train.h"

#include "../model.h"
#include "optimizer.h"
#include "tensor_file.h"

namespace llmopt::rt {

/// One entry, bound to the trainer's parameters: a caller's batch goes in between.
class EntrySession {
public:
  ~EntrySession();
  llmopt_status open(llmopt_model *model, const char *name, llmopt_error *error);
  /// Starts threads and takes memory when it is first bound.
  llmopt_status bind(const llmopt_tensor_type *batch, size_t numBatch, uint32_t threads, llmopt_error *error);
  /// Integers of labels: inside of their classes, or ignored.
  llmopt_status checkLabels(const llmopt_input *batch, llmopt_error *error) const;
  llmopt_status run(const llmopt_input *batch, size_t numBatch, llmopt_error *error);

  bool isBound() const { return bound; }
  void addMemory(llmopt_trainer_memory *memory) const;

  llmopt_model *model = nullptr;
  llmopt_session *session = nullptr;
  bool isGradients = false;
  uint32_t numBatch = 0;
  Array<uint32_t> batchInputs; ///< entry's input of each of the batch
  Array<llmopt_input> inputs;  ///< of the entry; parameters and hypers are set once
  Array<llmopt_output> outputs;
  Array<llmopt_tensor_type> types; ///< of inputs, as bound

private:
  const llmopt_training *training = nullptr;
  Array<int64_t> classes; ///< per label, for the bound shapes
  bool bound = false;
};

} // namespace llmopt::rt

struct llmopt_trainer {
  llmopt_model *model = nullptr;
  const llmopt_training *training = nullptr;
  llmopt::rt::TensorFile file; ///< where parameters came from
  llmopt::rt::Pages values, gradients, fresh, moments;
  llmopt::rt::Array<llmopt::rt::Parameter> parameters;
  llmopt::rt::Array<float *> freshGradients; ///< of the batch at hand, where steps have several
  llmopt::rt::Array<float> hypers;
  llmopt::rt::Optimizer optimizer;
  llmopt::rt::OptimizerKind kind = llmopt::rt::OptimizerKind::AdamW;
  llmopt::rt::Pool pool;
  uint32_t threads = 1;
  bool accumulates = false;
  llmopt::rt::EntrySession forGradients, forEvaluation;

  uint64_t step = 0, skipped = 0;
  // What was accumulated since the last update.
  uint32_t batches = 0;
  double lossSum = 0, lossWeight = 0;
  float lossOut[2] = {}, evaluateOut[2] = {};

  uint32_t numMoments() const; ///< values per element that the optimizer keeps
  ~llmopt_trainer();
};

#endif
