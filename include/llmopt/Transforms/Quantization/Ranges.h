// Static ranges of activations from what calibration saw.
#ifndef LLMOPT_TRANSFORMS_QUANTIZATION_RANGES_H
#define LLMOPT_TRANSFORMS_QUANTIZATION_RANGES_H

#include "llmopt/Transforms/Quantization/Histogram.h"

#include "llvm/ADT/StringRef.h"

#include <optional>

namespace llmopt {

enum class RangeMethod { MinMax, MovingAverage, Percentile, Entropy, MSE };

/// "minmax", "average", "percentile", "entropy", "mse".
std::optional<RangeMethod> parseRangeMethod(llvm::StringRef name);
llvm::StringRef getRangeMethodName(RangeMethod method);

/// The edge of the first bin below which at least `percent` % of the values lie.
double getPercentileRange(const Histogram &histogram, double percent = 99.99);

/// The range [-a, a] whose quantization to `levels` positive values (127) has the
/// least squared error over the histogram.
double getMSERange(const Histogram &histogram, int levels = 127);

/// The range that loses the least information: the least Kullback-Leibler
/// divergence between the clipped histogram and its quantization to `levels` + 1
/// slots (Migacz 2017). Of equals the widest.
double getEntropyRange(const Histogram &histogram, int levels = 127);

} // namespace llmopt

#endif
