#include "llmopt/Transforms/Quantization/Ranges.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace llmopt;

static constexpr std::pair<RangeMethod, const char *> kNames[] = {{RangeMethod::MinMax, "minmax"},
                                                                  {RangeMethod::MovingAverage, "average"},
                                                                  {RangeMethod::Percentile, "percentile"},
                                                                  {RangeMethod::Entropy, "entropy"},
                                                                  {RangeMethod::MSE, "mse"}};

std::optional<RangeMethod> llmopt::parseRangeMethod(llvm::StringRef name) {
  for (auto [method, text] : kNames)
    if (name == text)
      return method;
  return std::nullopt;
}

llvm::StringRef llmopt::getRangeMethodName(RangeMethod method) {
  return llvm::find_if(kNames, [&](auto &pair) { return pair.first == method; })->second;
}

/// One past the last bin that holds something; at least 1.
static int getUsedBins(const Histogram &histogram) {
  int used = Histogram::numBins;
  while (used > 1 && !histogram.getCounts()[used - 1])
    --used;
  return used;
}

double llmopt::getPercentileRange(const Histogram &histogram, double percent) {
  double wanted = percent / 100 * static_cast<double>(histogram.getTotal()), seen = 0;
  for (int i = 0; i < Histogram::numBins; ++i) {
    seen += static_cast<double>(histogram.getCounts()[i]);
    if (seen >= wanted)
      return (i + 1) * histogram.getWidth();
  }
  return Histogram::numBins * histogram.getWidth();
}

double llmopt::getMSERange(const Histogram &histogram, int levels) {
  int used = getUsedBins(histogram);
  double best = INFINITY, bestRange = used * histogram.getWidth();
  for (int last = std::min(levels + 1, used); last <= used; ++last) {
    double range = last * histogram.getWidth(), step = range / levels, loss = 0;
    for (int i = 0; i < used; ++i) {
      double x = (i + 0.5) * histogram.getWidth();
      double rounded = std::min(std::nearbyint(x / step), double(levels)) * step;
      loss += static_cast<double>(histogram.getCounts()[i]) * (x - rounded) * (x - rounded);
    }
    if (loss <= best) {
      best = loss;
      bestRange = range;
    }
  }
  return bestRange;
}

static constexpr double kLeastProbability = 1e-6;

/// Divergence of the first `last` bins, what lies beyond put into the last of
/// them, from the same quantized to `slots` equal pieces; a piece spreads its mass
/// evenly over the bins that held any.
static double divergence(const std::vector<double> &bins, int used, int last, int slots) {
  double outside = 0, total = 0;
  for (int i = 0; i < used; ++i) {
    total += bins[i];
    outside += i >= last ? bins[i] : 0;
  }
  double loss = 0, quantizedTotal = total - outside;
  if (total == 0 || quantizedTotal == 0)
    return INFINITY;
  for (int slot = 0; slot < slots; ++slot) {
    int begin = int64_t(slot) * last / slots, end = int64_t(slot + 1) * last / slots;
    double mass = 0;
    int filled = 0;
    for (int i = begin; i < end; ++i) {
      mass += bins[i];
      filled += bins[i] > 0;
    }
    for (int i = begin; i < end; ++i) {
      double p = (bins[i] + (i == last - 1 ? outside : 0)) / total;
      if (p == 0)
        continue;
      // Clipped mass may land in a bin that the quantized form leaves empty; how
      // unlikely that is must not be infinite.
      double q = bins[i] > 0 ? mass / filled / quantizedTotal : kLeastProbability;
      loss += p * std::log(p / q);
    }
  }
  return loss;
}

double llmopt::getEntropyRange(const Histogram &histogram, int levels) {
  int used = getUsedBins(histogram), slots = levels + 1;
  std::vector<double> bins(histogram.getCounts().begin(), histogram.getCounts().end());
  bins[0] = used > 1 ? bins[1] : bins[0]; // zeros cost nothing in any range
  double best = INFINITY, bestRange = used * histogram.getWidth();
  for (int last = std::min(slots, used); last <= used; ++last) {
    double loss = divergence(bins, used, last, std::min(slots, last));
    if (loss <= best) {
      best = loss;
      bestRange = last * histogram.getWidth();
    }
  }
  return bestRange;
}
