// GPTQ: rounding that makes up for its own errors (Frantar et al. 2022).
#ifndef LLMOPT_TRANSFORMS_QUANTIZATION_GPTQ_H
#define LLMOPT_TRANSFORMS_QUANTIZATION_GPTQ_H

#include "llmopt/Transforms/Quantization/WeightMatrix.h"

#include <optional>

namespace llmopt {

struct GptqOptions {
  GridOptions grid;
  double damping = 0.01; ///< part of the mean of the diagonal that is added to it
};

/// Quantizes `w` [K, N] so that X w changes least, given the upper triangle of the
/// Gram matrix X^T X [K, K]. Inputs are taken in the order of falling energy, while
/// scales stay those of the unpermuted groups (static act-order), so nothing is
/// permuted when running. Inputs that were never active are rounded to nearest.
/// nullopt where the damped matrix is not positive definite.
std::optional<QuantizedMatrix> solveGptq(const WeightMatrix &w, const std::vector<float> &gram,
                                         const GptqOptions &options);

} // namespace llmopt

#endif
