#include "llmopt/Transforms/Quantization/Ranges.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

using namespace llmopt;

namespace {

std::vector<float> draw(int count, float scale, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float &x : values)
    x = normal(generator);
  return values;
}

TEST(Histogram, AnySplitGivesTheSameCounts) {
  std::vector<float> values = draw(5000, 0.3f, 1);
  values[17] = 40; // widens late or early, by the split
  values[4999] = 1e-7f;
  Histogram whole;
  whole.add(values.data(), values.size());
  for (int64_t step : {1, 7, 1000}) {
    Histogram parts, left, right;
    for (int64_t i = 0; i < 5000; i += step)
      parts.add(values.data() + i, std::min<int64_t>(step, 5000 - i));
    EXPECT_EQ(parts.getExponent(), whole.getExponent());
    EXPECT_EQ(parts.getCounts(), whole.getCounts());
    left.add(values.data(), 4 * step);
    right.add(values.data() + 4 * step, 5000 - 4 * step);
    left.merge(right);
    EXPECT_EQ(left.getCounts(), whole.getCounts());
  }
  EXPECT_EQ(whole.getTotal(), 5000u);
}

TEST(Histogram, WidthIsTheLeastPowerOfTwo) {
  Histogram histogram;
  histogram.add(1.0f);
  EXPECT_LT(1.0, Histogram::numBins * histogram.getWidth());
  EXPECT_GE(1.0, Histogram::numBins * histogram.getWidth() / 2);
  histogram.add(INFINITY);
  histogram.add(NAN);
  EXPECT_EQ(histogram.getTotal(), 1u);
}

TEST(Ranges, PercentileIsWithinABinOfTheExactOne) {
  std::vector<float> values = draw(20000, 1, 2);
  Histogram histogram;
  histogram.add(values.data(), values.size());
  for (float &x : values)
    x = std::fabs(x);
  std::sort(values.begin(), values.end());
  EXPECT_NEAR(getPercentileRange(histogram, 99.0), values[19800], histogram.getWidth() * 1.5);
}

double quantizationError(const std::vector<float> &values, double range) {
  double step = range / 127, total = 0;
  for (float x : values) {
    double q = std::clamp(std::nearbyint(x / step), -127.0, 127.0);
    total += (x - q * step) * (x - q * step);
  }
  return total;
}

TEST(Ranges, MSEBeatsTheMaximumWhenThereAreOutliers) {
  std::vector<float> values = draw(20000, 1, 3);
  values[5] = 60;
  Histogram histogram;
  histogram.add(values.data(), values.size());
  double range = getMSERange(histogram);
  // One value of 60 costs (60 - range)^2; 20000 others cost step^2 / 12 each.
  double best = INFINITY;
  for (double candidate = 1; candidate <= 60; candidate += 0.01)
    best = std::min(best, quantizationError(values, candidate));
  EXPECT_LT(quantizationError(values, range), 1.05 * best);
}

TEST(Ranges, EntropyDropsLongTailsAndKeepsShortOnes) {
  std::vector<float> values = draw(200000, 1, 4);
  Histogram plain;
  plain.add(values.data(), values.size());
  EXPECT_GT(getEntropyRange(plain), 2.5);
  values[5] = 1000;
  Histogram tailed;
  tailed.add(values.data(), values.size());
  EXPECT_LT(getEntropyRange(tailed), 500);
}

TEST(Ranges, ASingleValueIsItsOwnRange) {
  Histogram histogram;
  histogram.add(0.75f);
  for (double range : {getPercentileRange(histogram), getMSERange(histogram), getEntropyRange(histogram)}) {
    EXPECT_GE(range, 0.75);
    EXPECT_LE(range, 0.75 + histogram.getWidth());
  }
}

} // namespace
