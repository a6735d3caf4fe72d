// What --train, --eval and --gradcheck take.
#ifndef LLMOPT_RUN_TRAINOPTIONS_H
#define LLMOPT_RUN_TRAINOPTIONS_H

#include "llmopt/train.h"

#include <string>
#include <utility>
#include <vector>

namespace llmopt::run {

enum class Schedule { Constant, Linear, Cosine };
enum class Order { Bucketed, Shuffled, File };

struct TrainOptions {
  std::string train, eval; ///< npz: the model's inputs and labels, an example per row
  double epochs = 3;
  uint64_t steps = 0; ///< 0: as epochs say
  uint64_t batch = 16, accumulate = 1;
  uint32_t optimizer = LLMOPT_ADAMW;
  llmopt_update update; ///< learning_rate is the highest of the schedule
  Schedule schedule = Schedule::Linear;
  double leastRate = 0;
  double warmup = 0; ///< below 1: a share of all steps
  Order order = Order::Bucketed;
  uint64_t seed = 0;
  std::vector<std::pair<std::string, double>> hypers;
  std::vector<std::string> classNames; ///< of labels; B- and I- make entities

  std::string save;        ///< .safetensors or .weights
  std::string saveAdapter; ///< folder
  std::string checkpoint;                      ///< folder
  uint64_t checkpointEvery = 0, evalEvery = 0; ///< steps; 0: an epoch
  bool resume = false;
  std::string log, tensorboard;
  std::string metric;    ///< what decides which weights are best; "" takes the task's own
  uint64_t patience = 0; ///< evaluations without a better one; 0: never stop
  double minDelta = 0;
  bool keepLast = false;     ///< instead of the best
  uint64_t memoryBudget = 0; ///< bytes; 0: none
};

} // namespace llmopt::run

#endif
