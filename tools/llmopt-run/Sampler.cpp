#include "Sampler.h"

#include <algorithm>
#include <cmath>

using namespace llmopt::run;

/// splitmix64 (Steele et al. 2014).
double Sampler::nextUniform() {
  uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return double(z >> 11) * 0x1p-53;
}

int64_t Sampler::pick(const float *logits, size_t size, const std::vector<int64_t> &seen) {
  scores.assign(logits, logits + size);
  if (options.repetitionPenalty != 1)
    for (int64_t id : seen)
      if (id >= 0 && uint64_t(id) < size) {
        // From the logit itself: a token that occurs twice is punished once.
        double logit = logits[id];
        scores[id] = logit > 0 ? logit / options.repetitionPenalty : logit * options.repetitionPenalty;
      }
  candidates.clear();
  for (size_t id = 0; id < size; ++id)
    if (scores[id] > -INFINITY)
      candidates.push_back({scores[id], int64_t(id)});
  if (candidates.empty())
    return -1;
  auto better = [](const Candidate &a, const Candidate &b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  if (options.temperature == 0)
    return std::min_element(candidates.begin(), candidates.end(), better)->id;

  if (options.topK && options.topK < candidates.size()) {
    std::nth_element(candidates.begin(), candidates.begin() + options.topK - 1, candidates.end(), better);
    candidates.resize(options.topK);
  }
  std::sort(candidates.begin(), candidates.end(), better);
  double largest = candidates[0].logit, total = 0;
  for (Candidate &candidate : candidates) {
    // An infinite logit wins over all others.
    candidate.logit = std::isinf(largest) ? double(std::isinf(candidate.logit))
                                          : std::exp((candidate.logit - largest) / options.temperature);
    total += candidate.logit;
  }
  // The fewest tokens whose probabilities sum up to top-p.
  double kept = 0;
  size_t count = 0;
  while (count < candidates.size() && (count == 0 || kept < options.topP * total))
    kept += candidates[count++].logit;
  double draw = nextUniform() * kept;
  for (size_t i = 0; i < count; ++i) {
    draw -= candidates[i].logit;
    if (draw < 0)
      return candidates[i].id;
  }
  return candidates[count - 1].id;
}
