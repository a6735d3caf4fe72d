// From the logits of a decoder to the next token.
#ifndef LLMOPT_RUN_SAMPLER_H
#define LLMOPT_RUN_SAMPLER_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace llmopt::run {

struct SamplingOptions {
  double temperature = 0;       ///< 0: greedy
  uint64_t topK = 0;            ///< 0: all
  double topP = 1;              ///< nucleus (Holtzman et al. 2020)
  double repetitionPenalty = 1; ///< Keskar et al. 2019; 1: none
  uint64_t seed = 0;
};

/// Penalty, temperature, top-k, top-p, in this order; then greedy, the lowest id
/// among equals, or a draw. The same seed draws the same tokens on every machine
/// that computes the same logits.
class Sampler {
public:
  explicit Sampler(const SamplingOptions &options) : options(options), state(options.seed) {}

  /// `logits` of `size` tokens; `seen` are the tokens so far, prompt included.
  /// NaN counts as impossible; -1 where no token is possible.
  int64_t pick(const float *logits, size_t size, const std::vector<int64_t> &seen);

private:
  double nextUniform(); // [0, 1)

  SamplingOptions options;
  uint64_t state;
  struct Candidate {
    double logit;
    int64_t id;
  };
  std::vector<Candidate> candidates;
  std::vector<double> scores;
};

} // namespace llmopt::run

#endif
