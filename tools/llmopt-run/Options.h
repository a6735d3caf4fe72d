// The command line of llmopt-run.
#ifndef LLMOPT_RUN_OPTIONS_H
#define LLMOPT_RUN_OPTIONS_H

#include "Failure.h"
#include "Sampler.h"
#include "TrainOptions.h"

#include <set>
#include <utility>
#include <vector>

namespace llmopt::run {

struct Options {
  std::string model;
  std::vector<std::string> inputs; ///< in.npz, or name=file.npy
  std::string output;
  std::string weights;
  std::vector<std::pair<std::string, int64_t>> shape; ///< symbol = value
  bool noOverlap = false;                             ///< on a device: kernels strictly one after the other
  bool noGraphs = false;                              ///< on a device: launch step by step
  uint32_t threads = 0;                               ///< 0: all CPUs
  bool copyWeights = false;
  bool bench = false, json = false, info = false, profile = false, check = false, help = false, version = false;
  uint32_t minRuns = 10;
  double minSeconds = 1, warmupSeconds = 0.2;
  uint64_t generate = 0; ///< new tokens at most; 0: do not generate
  std::vector<int64_t> prompt, stop;
  SamplingOptions sampling;
  TrainOptions training;
  bool gradcheck = false, poison = false;
  std::string merge, unmerge, adapter; ///< safetensors
  std::string entry;           ///< gradients or evaluate, instead of the model
  std::set<std::string> given; ///< names of options on the command line
};

/// Throws a usage failure that names the option and the nearest that exists.
Options parseOptions(int argc, char **argv);

extern const char *const helpText;

} // namespace llmopt::run

#endif
