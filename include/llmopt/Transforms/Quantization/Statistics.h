// What calibration remembers of an activation [.., K].
#ifndef LLMOPT_TRANSFORMS_QUANTIZATION_STATISTICS_H
#define LLMOPT_TRANSFORMS_QUANTIZATION_STATISTICS_H

#include "llmopt/Transforms/Quantization/Histogram.h"

#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace llmopt {

/// Which of the expensive statistics to keep.
struct StatisticsOptions {
  bool gram = false;      ///< K x K floats
  int64_t sampleRows = 0; ///< at least so many rows are kept as they are, at most twice as many
};

class ActivationStatistics {
public:
  ActivationStatistics() = default;
  ActivationStatistics(int64_t width, const StatisticsOptions &options);

  /// `rows` rows of `width` floats. Where `keep` is given, rows for which it is
  /// false (padding) count for nothing.
  void add(const float *x, int64_t rows, const std::vector<bool> *keep = nullptr);
  /// Ends a batch, for the moving average of its largest magnitude.
  void endBatch();

  int64_t width = 0;
  int64_t rows = 0;               ///< seen and not masked
  int64_t notFinite = 0;          ///< values that were NaN or infinite
  double average = 0;             ///< exponential moving average of batch maxima, factor 0.01
  std::vector<float> absMax;      ///< [K]
  std::vector<double> sum;        ///< [K]
  std::vector<double> sumAbs;     ///< [K]
  std::vector<double> sumSquares; ///< [K]
  Histogram histogram;
  std::vector<float> gram;   ///< [K, K] sum of x x^T, upper triangle; empty without
  std::vector<float> sample; ///< [sampled rows, K], evenly spaced

  /// Appends everything to `bytes`, of the Gram matrix the upper triangle.
  void save(std::string &bytes) const;
  /// Takes what save() wrote from the front of `bytes`; nullopt where it is not that.
  static std::optional<ActivationStatistics> load(llvm::StringRef &bytes);

  double getAbsMax() const;
  /// sum / rows.
  std::vector<float> getMean() const;

private:
  void flush();
  void thinSample();

  StatisticsOptions options;
  std::vector<float> pending; ///< rows that wait for the next update of `gram`
  int64_t sampleStride = 1;
  double batchMax = 0;
  bool hasBatches = false;
};

/// What the last bits of Gram matrices depend on: the build of the linear algebra
/// and the processor that it chose kernels for.
std::string getLinearAlgebraName();

} // namespace llmopt

#endif
