// Weights of a compiled model from a safetensors file.
#ifndef LLMOPT_RUN_TUNEDWEIGHTS_H
#define LLMOPT_RUN_TUNEDWEIGHTS_H

#include <string>

namespace llmopt::run {

/// Whether a file of weights is one of safetensors, by its name.
bool isSafetensors(const std::string &path);

/// Writes the weights file of the artefact `model` with the canonical tensors of
/// `tensors`, byte for byte what a compile with these tensors gives. Throws a Failure,
/// for a tensor that is missing or of another type or shape, too.
void writeTunedWeights(const std::string &model, const std::string &tensors, const std::string &output);

} // namespace llmopt::run

#endif
