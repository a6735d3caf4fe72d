// Weights of a compiled model that nobody trained: for measurements of large shapes on
// machines to which the real ones do not travel.
#ifndef LLMOPT_RUN_RANDOMWEIGHTS_H
#define LLMOPT_RUN_RANDOMWEIGHTS_H

#include <cstdint>
#include <string>

namespace llmopt::run {

/// Whether `text` is random:<seed>; fails for anything else that begins with "random:".
bool parseRandomWeights(const std::string &text, uint64_t &seed);

/// Writes a weights file for the artefact `model`. Canonical tensors follow from their
/// name, shape and the seed alone, and the artefact's recipes make packed ones of
/// them: artefacts of one model for different targets get the same weights. Matrices are
/// uniform with a variance that keeps attention peaked, scales and norms near 1.
/// Throws a Failure.
void writeRandomWeights(const std::string &model, uint64_t seed, const std::string &output);

} // namespace llmopt::run

#endif
