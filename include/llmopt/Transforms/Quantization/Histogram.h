// A histogram of magnitudes that does not depend on the order of what it sees.
#ifndef LLMOPT_TRANSFORMS_QUANTIZATION_HISTOGRAM_H
#define LLMOPT_TRANSFORMS_QUANTIZATION_HISTOGRAM_H

#include <cstdint>
#include <utility>
#include <vector>

namespace llmopt {

/// Counts |x| in bins of equal width, a power of two. When a value lies beyond the
/// last bin the width doubles and neighbours merge, so any split of the data into
/// batches gives the same counts. Between half and all of the bins are in use.
class Histogram {
public:
  static constexpr int numBins = 2048;

  Histogram() = default;
  /// What getExponent and getCounts said; `numBins` counts.
  Histogram(int exponent, std::vector<uint64_t> counts) : exponent(exponent), counts(std::move(counts)) {}

  /// NaN and infinities are not counted.
  void add(float x);
  void add(const float *x, int64_t count);
  void merge(const Histogram &other);

  /// log2 of the width of a bin.
  int getExponent() const { return exponent; }
  double getWidth() const;
  const std::vector<uint64_t> &getCounts() const { return counts; }
  uint64_t getTotal() const;

private:
  void widenTo(int newExponent);

  int exponent = -60;
  std::vector<uint64_t> counts = std::vector<uint64_t>(numBins);
};

} // namespace llmopt

#endif
