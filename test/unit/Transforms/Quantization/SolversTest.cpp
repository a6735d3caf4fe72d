// Solvers against rounding to nearest, on inputs that are correlated as those of
// real layers are.
#include "llmopt/Transforms/Quantization/Awq.h"
#include "llmopt/Transforms/Quantization/Gptq.h"
#include "llmopt/Transforms/Quantization/Statistics.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

using namespace llmopt;

namespace {

struct Layer {
  WeightMatrix w;
  std::vector<float> x; // [rows, k]
  ActivationStatistics statistics;
};

/// Inputs mix a few directions; every tenth input is `outlier` times larger.
Layer makeLayer(int64_t k, int64_t n, int64_t rows, float outlier, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, 1);
  Layer layer;
  layer.w = {k, n, std::vector<float>(k * n)};
  for (float &value : layer.w.values)
    value = normal(generator) * 0.05f;
  int64_t directions = k / 4;
  std::vector<float> basis(directions * k);
  for (float &value : basis)
    value = normal(generator) / std::sqrt(float(directions));
  layer.x.resize(rows * k);
  for (int64_t r = 0; r < rows; ++r) {
    float *row = &layer.x[r * k];
    for (int64_t d = 0; d < directions; ++d) {
      float amount = normal(generator);
      for (int64_t i = 0; i < k; ++i)
        row[i] += amount * basis[d * k + i];
    }
    for (int64_t i = 0; i < k; ++i)
      row[i] = (row[i] + 0.1f * normal(generator)) * (i % 10 == 3 ? outlier : 1);
  }
  StatisticsOptions options;
  options.gram = true;
  options.sampleRows = 64;
  layer.statistics = ActivationStatistics(k, options);
  layer.statistics.add(layer.x.data(), rows);
  layer.statistics.endBatch();
  return layer;
}

double directError(const Layer &layer, const QuantizedMatrix &m) {
  double total = 0;
  int64_t rows = layer.x.size() / layer.w.k;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t o = 0; o < layer.w.n; ++o) {
      double e = 0;
      for (int64_t i = 0; i < layer.w.k; ++i)
        e += layer.x[r * layer.w.k + i] * (double(m.value(i, o)) - layer.w.at(i, o));
      total += e * e;
    }
  return total;
}

TEST(Statistics, GramGivesTheErrorOfTheOutput) {
  Layer layer = makeLayer(64, 24, 300, 1, 1);
  QuantizedMatrix m = roundToNearest(layer.w, {});
  double direct = directError(layer, m);
  EXPECT_NEAR(getOutputError(layer.w, m, layer.statistics.gram), direct, 1e-3 * direct);
}

TEST(Statistics, MaskedRowsAndBatchesChangeNothing) {
  Layer layer = makeLayer(32, 8, 300, 5, 2);
  std::vector<float> padded;
  std::vector<bool> keep;
  for (int64_t r = 0; r < 300; ++r) {
    padded.insert(padded.end(), &layer.x[r * 32], &layer.x[r * 32] + 32);
    padded.insert(padded.end(), 32, 1000.0f); // padding, far outside of every range
    keep.push_back(true);
    keep.push_back(false);
  }
  StatisticsOptions options;
  options.gram = true;
  options.sampleRows = 64;
  ActivationStatistics other(32, options);
  for (int64_t r = 0; r < 600; r += 50) {
    std::vector<bool> part(keep.begin() + r, keep.begin() + r + 50);
    other.add(&padded[r * 32], 50, &part);
  }
  other.endBatch();
  EXPECT_EQ(other.rows, 300);
  EXPECT_EQ(other.absMax, layer.statistics.absMax);
  EXPECT_EQ(other.histogram.getCounts(), layer.statistics.histogram.getCounts());
  EXPECT_EQ(other.sample, layer.statistics.sample);
  for (size_t i = 0; i < other.gram.size(); ++i)
    EXPECT_NEAR(other.gram[i], layer.statistics.gram[i], 1e-3 * std::fabs(layer.statistics.gram[i]) + 1e-3);
}

TEST(Statistics, ValuesThatAreNotFiniteAreCounted) {
  ActivationStatistics statistics(4, {});
  std::vector<float> x = {1, 2, NAN, 4, 1, 2, 3, 4};
  statistics.add(x.data(), 2);
  EXPECT_EQ(statistics.notFinite, 1);
  EXPECT_EQ(statistics.rows, 1);
}

TEST(Statistics, SamplesAreBoundedAndEven) {
  StatisticsOptions options;
  options.sampleRows = 10;
  ActivationStatistics statistics(1, options);
  for (int i = 0; i < 1000; ++i) {
    float x = static_cast<float>(i);
    statistics.add(&x, 1);
  }
  size_t count = statistics.sample.size();
  EXPECT_GE(count, 10u);
  EXPECT_LT(count, 20u);
  for (size_t i = 1; i < count; ++i)
    EXPECT_EQ(statistics.sample[i] - statistics.sample[i - 1], statistics.sample[1]);
}

TEST(RoundToNearest, ErrorIsHalfAStepAndZeroStays) {
  for (bool symmetric : {true, false})
    for (int bits : {4, 8}) {
      Layer layer = makeLayer(64, 8, 10, 1, 3);
      layer.w.at(5, 5) = 0;
      GridOptions grid;
      grid.bits = bits;
      grid.symmetric = symmetric;
      QuantizedMatrix m = roundToNearest(layer.w, grid);
      for (int64_t i = 0; i < 64; ++i)
        for (int64_t o = 0; o < 8; ++o)
          EXPECT_LE(std::fabs(m.value(i, o) - layer.w.at(i, o)),
                    0.5001f * m.scale[i / 32 * 8 + o] * (symmetric ? 1 : 2));
      EXPECT_EQ(m.value(5, 5), 0);
    }
}

TEST(RoundToNearest, ZeroGroupsHaveScaleOne) {
  WeightMatrix w{32, 1, std::vector<float>(32)};
  EXPECT_EQ(roundToNearest(w, {}).scale[0], 1);
}

TEST(RoundToNearest, SearchLowersTheError) {
  Layer layer = makeLayer(128, 32, 10, 1, 4);
  GridOptions grid;
  double plain = getSQNR(layer.w, roundToNearest(layer.w, grid));
  grid.search = true;
  EXPECT_GT(getSQNR(layer.w, roundToNearest(layer.w, grid)), plain);
}

TEST(Gptq, BeatsRoundingOnCorrelatedInputs) {
  for (int64_t group : {32, 128}) {
    Layer layer = makeLayer(256, 48, 1500, 8, 5);
    GptqOptions options;
    options.grid.group = group;
    std::optional<QuantizedMatrix> gptq = solveGptq(layer.w, layer.statistics.gram, options);
    ASSERT_TRUE(gptq);
    QuantizedMatrix nearest = roundToNearest(layer.w, options.grid);
    EXPECT_EQ(gptq->scale, nearest.scale); // the same grid
    EXPECT_LT(directError(layer, *gptq), 0.6 * directError(layer, nearest));
  }
}

TEST(Gptq, UncorrelatedInputsAreRoundedToNearest) {
  Layer layer = makeLayer(64, 16, 10, 1, 6);
  std::vector<float> gram(64 * 64);
  for (int i = 0; i < 64; ++i)
    gram[i * 64 + i] = 1.0f + i % 3;
  std::optional<QuantizedMatrix> gptq = solveGptq(layer.w, gram, {});
  ASSERT_TRUE(gptq);
  EXPECT_EQ(gptq->q, roundToNearest(layer.w, {}).q);
}

TEST(Gptq, NotPositiveDefiniteIsSaid) {
  Layer layer = makeLayer(32, 4, 10, 1, 7);
  std::vector<float> gram(32 * 32, 5.0f);
  for (int i = 0; i < 32; ++i)
    gram[i * 32 + i] = 1;
  EXPECT_FALSE(solveGptq(layer.w, gram, {}));
  EXPECT_FALSE(solveGptq(layer.w, std::vector<float>(32 * 32), {}));
}

TEST(Gptq, InputsThatAreNeverActive) {
  Layer layer = makeLayer(64, 16, 400, 1, 8);
  for (int64_t i = 0; i < 64; ++i) // input 7
    layer.statistics.gram[std::min<int64_t>(i, 7) * 64 + std::max<int64_t>(i, 7)] = 0;
  std::optional<QuantizedMatrix> gptq = solveGptq(layer.w, layer.statistics.gram, {});
  ASSERT_TRUE(gptq);
  QuantizedMatrix nearest = roundToNearest(layer.w, {});
  for (int64_t o = 0; o < 16; ++o)
    EXPECT_EQ(gptq->q[7 * 16 + o], nearest.q[7 * 16 + o]);
}

TEST(Awq, ScalesHelpWhereFewInputsAreLarge) {
  Layer layer = makeLayer(128, 64, 600, 30, 9);
  GridOptions grid;
  InputScales ones(128, 1.0f), scales = searchAwqScales({&layer.w}, layer.statistics, grid);
  double plain = getSampleError(layer.w, roundToNearest(layer.w, grid), ones, layer.statistics);
  double scaled = getSampleError(layer.w, roundToNearest(scaleInputs(layer.w, scales), grid), scales, layer.statistics);
  EXPECT_LT(scaled, 0.5 * plain);
}

TEST(SmoothQuant, BalancesMagnitudes) {
  Layer layer = makeLayer(64, 32, 300, 50, 10);
  InputScales scales = getSmoothQuantScales({&layer.w}, layer.statistics, 0.5);
  for (int64_t i = 0; i < 64; ++i) {
    float largest = 0;
    for (int64_t o = 0; o < 32; ++o)
      largest = std::max(largest, std::fabs(layer.w.at(i, o)));
    // With alpha = 1/2 both sides get the same largest magnitude.
    EXPECT_NEAR(layer.statistics.absMax[i] / scales[i], largest * scales[i], 1e-3 * largest * scales[i]);
  }
}

} // namespace
