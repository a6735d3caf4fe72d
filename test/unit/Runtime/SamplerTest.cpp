// The choice of the next token (llmopt-run --generate).
#include "Sampler.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <map>

using namespace llmopt::run;

namespace {
const float kNaN = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

std::map<int64_t, int> draws(SamplingOptions options, const std::vector<float> &logits, int count = 20000) {
  Sampler sampler(options);
  std::map<int64_t, int> result;
  for (int i = 0; i < count; ++i)
    ++result[sampler.pick(logits.data(), logits.size(), {})];
  return result;
}
} // namespace

TEST(Sampler, GreedyTakesTheFirstOfTheBest) {
  Sampler sampler({});
  std::vector<float> logits{1, 3, kNaN, 3, -kInf};
  EXPECT_EQ(sampler.pick(logits.data(), logits.size(), {}), 1);
  std::vector<float> none{kNaN, -kInf};
  EXPECT_EQ(sampler.pick(none.data(), none.size(), {}), -1);
}

TEST(Sampler, DrawsFollowTheSoftmax) {
  SamplingOptions options;
  options.temperature = 2;
  std::vector<float> logits{0, 2, 4, -kInf};
  auto counts = draws(options, logits);
  double total = 1 + std::exp(1) + std::exp(2);
  // Within four standard deviations of a binomial of 20000 draws.
  for (int64_t id = 0; id < 3; ++id) {
    double p = std::exp(double(id)) / total;
    EXPECT_NEAR(counts[id], 20000 * p, 4 * std::sqrt(20000 * p * (1 - p))) << id;
  }
  EXPECT_EQ(counts.count(3), 0u);
}

TEST(Sampler, TopKAndTopPCut) {
  SamplingOptions options;
  options.temperature = 1;
  options.topK = 2;
  std::vector<float> logits{0, 1, 2, 3};
  EXPECT_EQ(draws(options, logits).size(), 2u);
  options.topK = 0;
  options.topP = 0.6; // the best has 0.64
  EXPECT_EQ(draws(options, logits).size(), 1u);
  options.topP = 0.7;
  EXPECT_EQ(draws(options, logits).size(), 2u);
}

TEST(Sampler, PenaltyCountsOnce) {
  SamplingOptions options;
  options.repetitionPenalty = 2;
  Sampler sampler(options);
  std::vector<float> logits{3, 2, -1};
  EXPECT_EQ(sampler.pick(logits.data(), logits.size(), {}), 0);
  EXPECT_EQ(sampler.pick(logits.data(), logits.size(), {0, 0, 0}), 1); // 1.5 < 2
  std::vector<float> negative{-1, -1.5f};
  EXPECT_EQ(sampler.pick(negative.data(), negative.size(), {0}), 1); // -2 < -1.5
}

TEST(Sampler, SameSeedSameTokens) {
  SamplingOptions options;
  options.temperature = 1;
  options.seed = 7;
  std::vector<float> logits{0.1f, 0.2f, 0.3f, 0.4f};
  Sampler a(options), b(options);
  options.seed = 8;
  Sampler c(options);
  int differs = 0;
  for (int i = 0; i < 50; ++i) {
    int64_t token = a.pick(logits.data(), logits.size(), {});
    EXPECT_EQ(token, b.pick(logits.data(), logits.size(), {}));
    differs += token != c.pick(logits.data(), logits.size(), {});
  }
  EXPECT_GT(differs, 0);
}
