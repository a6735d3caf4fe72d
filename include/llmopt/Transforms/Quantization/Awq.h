// AWQ: scales that protect the weights that matter (Lin et al. 2023), and
// SmoothQuant (Xiao et al. 2022), which moves outliers of activations into weights.
#ifndef LLMOPT_TRANSFORMS_QUANTIZATION_AWQ_H
#define LLMOPT_TRANSFORMS_QUANTIZATION_AWQ_H

#include "llmopt/Transforms/Quantization/Statistics.h"
#include "llmopt/Transforms/Quantization/WeightMatrix.h"

#include "llvm/ADT/ArrayRef.h"

namespace llmopt {

/// One positive scale s_j per input: weights are multiplied by it, activations
/// divided.
using InputScales = std::vector<float>;

/// The best of s_j = mean|x_j|^a / mean|w_j|^(1 - a), a in {0, 1/20 .. 19/20}, by the
/// squared error of X w with `w` on the grid, over the rows that `statistics`
/// sampled; w_j is relative to the largest of its group. Scales of all ones where
/// nothing is better. `weights` read the same input.
InputScales searchAwqScales(llvm::ArrayRef<const WeightMatrix *> weights, const ActivationStatistics &statistics,
                            const GridOptions &grid);

/// s_j = max|x_j|^alpha / max|w_j|^(1 - alpha) over all `weights`, at least 1e-5; 1
/// for an input that was never active.
InputScales getSmoothQuantScales(llvm::ArrayRef<const WeightMatrix *> weights, const ActivationStatistics &statistics,
                                 double alpha);

/// w with row j multiplied by s_j.
WeightMatrix scaleInputs(const WeightMatrix &w, const InputScales &scales);

/// The squared error over the sampled rows X of X / s times the quantized weight,
/// against X w.
double getSampleError(const WeightMatrix &w, const QuantizedMatrix &quantized, const InputScales &scales,
                      const ActivationStatistics &statistics);

} // namespace llmopt

#endif
