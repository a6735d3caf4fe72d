// Adapters of -lora put into the weights that they stand beside, and taken out again.
#ifndef LLMOPT_RUN_MERGEADAPTER_H
#define LLMOPT_RUN_MERGEADAPTER_H

#include <string>

namespace llmopt::run {

/// Writes all weights of a model that was compiled with -lora, without adapters, under the
/// names of its modules: W + s B A, s = alpha / r (or alpha / sqrt(r) with rs:on), or with
/// `isRemoved` W - s B A, each element computed in f64 and rounded once. `own` is the
/// model's safetensors file; tensors of `weights` and then of `adapter`, either of which
/// may be "", take the places of its own. Throws a Failure.
void mergeAdapter(const std::string &own, const std::string &weights, const std::string &adapter, bool isRemoved,
                  const std::string &output);

} // namespace llmopt::run

#endif
