// Weights files made where the model runs, by the artefact's own recipes: no compiler,
// and the same bytes that it would write.
#ifndef LLMOPT_RUN_PACKWEIGHTS_H
#define LLMOPT_RUN_PACKWEIGHTS_H

#include "llmopt/CodeGen/Plan/Recipe.h"

namespace llmopt::run {

/// The bytes of a canonical tensor, valid until the next call of `release`. Throws a
/// Failure where there is none.
struct CanonicalSource {
  std::function<const char *(const std::string &name, uint32_t dtype, const std::vector<int64_t> &dims)> get;
  std::function<void(const std::string &name)> release;
};

/// Writes a weights file for the artefact `model`. Throws a Failure.
void packWeights(const std::string &model, const CanonicalSource &source, const std::string &output);

} // namespace llmopt::run

#endif
