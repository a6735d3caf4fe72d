// Updates against the formulas in f64, element by element.
#include "train/optimizer.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>
#include <vector>

using namespace llmopt::rt;

namespace {

struct Tensors {
  std::vector<std::vector<float>> value, gradient, first, second;
  std::vector<Parameter> parameters;

  explicit Tensors(std::vector<size_t> sizes, unsigned seed = 1) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (size_t size : sizes) {
      for (auto *list : {&value, &gradient, &first, &second})
        list->emplace_back(size, 0.0f);
      for (size_t i = 0; i < size; ++i) {
        value.back()[i] = normal(random);
        gradient.back()[i] = normal(random);
      }
    }
    for (size_t t = 0; t < sizes.size(); ++t)
      parameters.push_back({value[t].data(), gradient[t].data(), first[t].data(), second[t].data(), sizes[t],
                            t == 1 ? 0.5 : 1.0, t != 2});
  }
};

/// One element as torch.optim defines the update (f64).
struct Reference {
  double w, m = 0, v = 0;
  void step(const OptimizerSettings &s, double g, double rateScale, bool decays, uint64_t t) {
    const double rate = s.learningRate * rateScale, decay = decays ? s.weightDecay : 0;
    if (s.decayMode == DecayMode::L2)
      g += decay * w;
    else if (s.kind != OptimizerKind::Adam)
      w *= 1 - rate * decay;
    if (s.kind == OptimizerKind::SGD) {
      m = t == 1 ? g : s.momentum * m + g;
      w -= rate * (s.momentum == 0 ? g : s.nesterov ? g + s.momentum * m : m);
      return;
    }
    m = s.beta1 * m + (1 - s.beta1) * g;
    v = s.beta2 * v + (1 - s.beta2) * g * g;
    w -= rate * (m / (1 - std::pow(s.beta1, t))) / (std::sqrt(v / (1 - std::pow(s.beta2, t))) + s.epsilon);
  }
};

void checkAgainstFormula(const OptimizerSettings &settings) {
  Tensors tensors({20000, 3, 40});
  std::vector<std::vector<Reference>> references;
  for (auto &values : tensors.value) {
    references.emplace_back();
    for (float w : values)
      references.back().push_back({w});
  }
  Optimizer optimizer;
  ASSERT_TRUE(optimizer.prepare(tensors.parameters.data(), 3));
  Pool pool;
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (uint64_t step = 1; step <= 10; ++step) {
    for (size_t t = 0; t < 3; ++t)
      for (size_t i = 0; i < tensors.value[t].size(); ++i) {
        const Parameter &p = tensors.parameters[t];
        references[t][i].step(settings, 0.25 * tensors.gradient[t][i], p.rateScale, p.decays, step);
      }
    optimizer.update(pool, settings, 0.25, step);
    for (size_t t = 0; t < 3; ++t)
      for (size_t i = 0; i < tensors.value[t].size(); ++i)
        // f32 in place against f64: some roundings of values of order 1 per step.
        ASSERT_NEAR(tensors.value[t][i], references[t][i].w, 4e-6 * std::max(1.0, std::fabs(references[t][i].w)))
            << "tensor " << t << " element " << i << " step " << step;
    for (auto &gradients : tensors.gradient)
      for (float &g : gradients)
        g = normal(random);
  }
}

TEST(Optimizer, AdamW) { checkAgainstFormula({OptimizerKind::AdamW, DecayMode::Decoupled, 1e-2}); }
TEST(Optimizer, AdamWithoutDecay) { checkAgainstFormula({OptimizerKind::Adam, DecayMode::Decoupled, 1e-2}); }
TEST(Optimizer, AdamWithL2) { checkAgainstFormula({OptimizerKind::Adam, DecayMode::L2, 1e-2}); }
TEST(Optimizer, SGD) {
  OptimizerSettings settings{OptimizerKind::SGD, DecayMode::Decoupled, 1e-2};
  checkAgainstFormula(settings);
  settings.momentum = 0.9;
  checkAgainstFormula(settings);
  settings.nesterov = true;
  settings.decayMode = DecayMode::L2;
  checkAgainstFormula(settings);
}

/// The first element after two steps.
float runTwo(OptimizerKind kind, DecayMode mode) {
  Tensors tensors({8});
  Optimizer optimizer;
  EXPECT_TRUE(optimizer.prepare(tensors.parameters.data(), 1));
  Pool pool;
  OptimizerSettings settings{kind, mode, 0.1};
  settings.weightDecay = 0.1;
  optimizer.update(pool, settings, 1, 1);
  optimizer.update(pool, settings, 1, 2);
  return tensors.value[0][0];
}

TEST(Optimizer, L2IsNotDecoupledDecayUnderAdam) {
  EXPECT_NEAR(runTwo(OptimizerKind::SGD, DecayMode::L2), runTwo(OptimizerKind::SGD, DecayMode::Decoupled), 1e-6);
  EXPECT_GT(std::fabs(runTwo(OptimizerKind::AdamW, DecayMode::L2) - runTwo(OptimizerKind::AdamW, DecayMode::Decoupled)),
            1e-4);
}

TEST(Optimizer, BitsDoNotDependOnThreads) {
  std::vector<float> results[2];
  double norms[2];
  for (int run = 0; run < 2; ++run) {
    Tensors tensors({70001, 16384, 5});
    Optimizer optimizer;
    ASSERT_TRUE(optimizer.prepare(tensors.parameters.data(), 3));
    Pool pool;
    llmopt_error error;
    ASSERT_EQ(pool.start(run ? 3 : 1, &error), LLMOPT_OK) << error.message;
    norms[run] = optimizer.gradientNorm(pool, 0.5);
    for (uint64_t step = 1; step <= 3; ++step)
      optimizer.update(pool, {}, clipScale(norms[run], 1.0), step);
    for (auto &values : tensors.value)
      results[run].insert(results[run].end(), values.begin(), values.end());
  }
  EXPECT_EQ(norms[0], norms[1]);
  EXPECT_EQ(results[0], results[1]);
}

TEST(Optimizer, NormIsOfAllGradients) {
  Tensors tensors({20000, 30});
  double sum = 0;
  for (auto &gradients : tensors.gradient)
    for (float g : gradients)
      sum += static_cast<double>(g) * g;
  Optimizer optimizer;
  ASSERT_TRUE(optimizer.prepare(tensors.parameters.data(), 2));
  Pool pool;
  EXPECT_NEAR(optimizer.gradientNorm(pool, 0.1), 0.1 * std::sqrt(sum), 1e-9 * std::sqrt(sum));
  tensors.gradient[1][7] = NAN;
  EXPECT_FALSE(std::isfinite(optimizer.gradientNorm(pool, 1)));
}

TEST(Optimizer, GradientsOfBatchesAddUp) {
  Tensors sum({20000, 3}), more({20000, 3});
  std::vector<float> before = sum.gradient[0];
  Optimizer optimizer;
  ASSERT_TRUE(optimizer.prepare(sum.parameters.data(), 2));
  Pool pool;
  float *const pointers[] = {more.gradient[0].data(), more.gradient[1].data()};
  optimizer.addGradients(pool, pointers);
  for (size_t i = 0; i < before.size(); ++i)
    ASSERT_EQ(sum.gradient[0][i], before[i] + more.gradient[0][i]);
}

TEST(Optimizer, ClippedNormIsTheLimit) {
  EXPECT_EQ(clipScale(0.5, 1.0), 1);
  EXPECT_EQ(clipScale(5, 0), 1);
  EXPECT_NEAR(5 * clipScale(5, 1.0), 1, 1e-6);
}

TEST(Schedule, WarmsUpAndEndsWhereItShould) {
  auto rate = [](Schedule s, uint64_t step) { return scheduledRate(s, 1.0, 0.1, step, 10, 110); };
  for (Schedule s : {Schedule::Constant, Schedule::Linear, Schedule::Cosine}) {
    EXPECT_DOUBLE_EQ(rate(s, 1), 0.1);
    EXPECT_DOUBLE_EQ(rate(s, 10), 1.0);
  }
  EXPECT_DOUBLE_EQ(rate(Schedule::Constant, 110), 1.0);
  EXPECT_DOUBLE_EQ(rate(Schedule::Linear, 60), 0.55);
  EXPECT_DOUBLE_EQ(rate(Schedule::Cosine, 60), 0.55);
  EXPECT_NEAR(rate(Schedule::Linear, 110), 0.1, 1e-12);
  EXPECT_NEAR(rate(Schedule::Cosine, 110), 0.1, 1e-12);
  EXPECT_NEAR(rate(Schedule::Cosine, 500), 0.1, 1e-12); // beyond the end
}

} // namespace
