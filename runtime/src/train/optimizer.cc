#include "optimizer.h"

#include <cmath>

using namespace llmopt::rt;

namespace {

constexpr uint64_t blockSize = 16384; // elements; part of the results' bits

double powerOf(double base, uint64_t exponent) {
  double result = 1;
  for (; exponent; exponent >>= 1, base *= base)
    if (exponent & 1)
      result *= base;
  return result;
}

/// Plain numbers of one update, as the loops over elements want them.
struct Factors {
  float scale;   ///< of gradients
  float coupled; ///< decay that enters the gradient
  float kept;    ///< 1 - what is taken off beside the gradient
  float rate;
};

Factors factorsOf(const OptimizerSettings &s, const Parameter &p, double scale) {
  const double rate = s.learningRate * p.rateScale, decay = p.decays ? s.weightDecay : 0;
  const bool l2 = s.decayMode == DecayMode::L2;
  return {static_cast<float>(scale), l2 ? static_cast<float>(decay) : 0.0f,
          l2 || s.kind == OptimizerKind::Adam ? 1.0f : static_cast<float>(1 - rate * decay), static_cast<float>(rate)};
}

void updateAdam(const Parameter &p, uint64_t first, uint64_t count, const OptimizerSettings &s, const Factors &f,
                double correction1, double correction2) {
  float *__restrict w = p.value + first, *__restrict m = p.first + first, *__restrict v = p.second + first;
  const float *__restrict g = p.gradient + first;
  const float beta1 = static_cast<float>(s.beta1), beta2 = static_cast<float>(s.beta2);
  const float rest1 = static_cast<float>(1 - s.beta1), rest2 = static_cast<float>(1 - s.beta2);
  const float epsilon = static_cast<float>(s.epsilon), root = static_cast<float>(std::sqrt(correction2));
  const float step = static_cast<float>(static_cast<double>(f.rate) / correction1);
  for (uint64_t i = 0; i < count; ++i) {
    const float x = f.scale * g[i] + f.coupled * w[i];
    m[i] = beta1 * m[i] + rest1 * x;
    v[i] = beta2 * v[i] + rest2 * x * x;
    w[i] = f.kept * w[i] - step * (m[i] / (std::sqrt(v[i]) / root + epsilon));
  }
}

void updateSGD(const Parameter &p, uint64_t first, uint64_t count, const OptimizerSettings &s, const Factors &f,
               bool isFirst) {
  float *__restrict w = p.value + first;
  const float *__restrict g = p.gradient + first;
  const float momentum = static_cast<float>(s.momentum);
  if (momentum == 0 || !p.first) {
    for (uint64_t i = 0; i < count; ++i)
      w[i] = f.kept * w[i] - f.rate * (f.scale * g[i] + f.coupled * w[i]);
    return;
  }
  float *__restrict velocity = p.first + first;
  const float kept = isFirst ? 0.0f : momentum; // the first velocity is the gradient
  for (uint64_t i = 0; i < count; ++i) {
    const float x = f.scale * g[i] + f.coupled * w[i];
    velocity[i] = kept * velocity[i] + x;
    w[i] = f.kept * w[i] - f.rate * (s.nesterov ? x + momentum * velocity[i] : velocity[i]);
  }
}

} // namespace

bool Optimizer::prepare(const Parameter *list, uint32_t count) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < count; ++i)
    total += (list[i].count + blockSize - 1) / blockSize;
  if (total > INT32_MAX || !parameters.allocate(count) || !blocks.allocate(total) || !partial.allocate(total))
    return false;
  uint64_t next = 0;
  for (uint32_t i = 0; i < count; ++i) {
    parameters[i] = list[i];
    for (uint64_t first = 0; first < list[i].count; first += blockSize)
      blocks[next++] = {i, first, list[i].count - first < blockSize ? list[i].count - first : blockSize};
  }
  return true;
}

void Optimizer::runTile(void *const *args, const int64_t *, int64_t tile, void *) {
  auto &optimizer = *static_cast<Optimizer *>(args[0]);
  auto work = reinterpret_cast<Work>(args[1]);
  work(optimizer, optimizer.blocks[static_cast<size_t>(tile)], static_cast<uint64_t>(tile));
}

void Optimizer::runBlocks(Pool &pool, Work work) {
  void *args[] = {this, reinterpret_cast<void *>(work)};
  PreparedStep step{};
  step.kernel = runTile;
  step.args = args;
  step.tiles = static_cast<uint32_t>(blocks.size());
  step.numArgs = 2;
  pool.run(step, nullptr, 0);
}

double Optimizer::gradientNorm(Pool &pool, double scale) {
  runBlocks(pool, [](Optimizer &o, const Block &b, uint64_t index) {
    const float *g = o.parameters[b.parameter].gradient + b.first;
    double sums[8] = {};
    for (uint64_t i = 0; i < b.count; ++i)
      sums[i % 8] += static_cast<double>(g[i]) * static_cast<double>(g[i]);
    double sum = 0;
    for (double s : sums)
      sum += s;
    o.partial[index] = sum;
  });
  double sum = 0;
  for (double s : partial)
    sum += s;
  return std::sqrt(sum) * std::fabs(scale);
}

void Optimizer::update(Pool &pool, const OptimizerSettings &now, double scale, uint64_t step) {
  settings = now;
  gradientScale = scale;
  stepCount = step;
  correction1 = 1 - powerOf(now.beta1, step);
  correction2 = 1 - powerOf(now.beta2, step);
  runBlocks(pool, [](Optimizer &o, const Block &b, uint64_t) {
    const Parameter &p = o.parameters[b.parameter];
    const Factors factors = factorsOf(o.settings, p, o.gradientScale);
    if (o.settings.kind == OptimizerKind::SGD)
      updateSGD(p, b.first, b.count, o.settings, factors, o.stepCount == 1);
    else
      updateAdam(p, b.first, b.count, o.settings, factors, o.correction1, o.correction2);
  });
}

void Optimizer::addGradients(Pool &pool, float *const *more) {
  added = more;
  runBlocks(pool, [](Optimizer &o, const Block &b, uint64_t) {
    float *__restrict g = o.parameters[b.parameter].gradient + b.first;
    const float *__restrict x = o.added[b.parameter] + b.first;
    for (uint64_t i = 0; i < b.count; ++i)
      g[i] += x[i];
  });
}

double llmopt::rt::scheduledRate(Schedule schedule, double rate, double least, uint64_t step, uint64_t warmup,
                                 uint64_t total) {
  if (step <= warmup)
    return rate * static_cast<double>(step) / static_cast<double>(warmup);
  if (schedule == Schedule::Constant)
    return rate;
  double done = total > warmup ? static_cast<double>(step - warmup) / static_cast<double>(total - warmup) : 1;
  done = done < 1 ? done : 1;
  if (schedule == Schedule::Linear)
    return least + (rate - least) * (1 - done);
  return least + (rate - least) * 0.5 * (1 + std::cos(3.14159265358979323846 * done));
}

double llmopt::rt::clipScale(double norm, double limit) {
  return limit > 0 && norm > limit ? limit / (norm + 1e-6) : 1;
}
