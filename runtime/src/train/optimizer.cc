#include "optimizer.h"

#include "optimizer_loops.h"

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

OptimizerFactors factorsOf(const OptimizerSettings &s, const Parameter &p, double scale, uint64_t step,
                           double correction1, double correction2) {
  const double rate = s.learningRate * p.rateScale, decay = p.decays ? s.weightDecay : 0;
  const bool l2 = s.decayMode == DecayMode::L2;
  OptimizerFactors f;
  f.scale = static_cast<float>(scale);
  f.coupled = l2 ? static_cast<float>(decay) : 0.0f;
  f.kept = l2 || s.kind == OptimizerKind::Adam ? 1.0f : static_cast<float>(1 - rate * decay);
  f.rate = static_cast<float>(rate);
  f.beta1 = static_cast<float>(s.beta1);
  f.beta2 = static_cast<float>(s.beta2);
  f.rest1 = static_cast<float>(1 - s.beta1);
  f.rest2 = static_cast<float>(1 - s.beta2);
  f.epsilon = static_cast<float>(s.epsilon);
  f.root = static_cast<float>(std::sqrt(correction2));
  f.step = static_cast<float>(static_cast<double>(f.rate) / correction1);
  f.momentum = static_cast<float>(s.momentum);
  f.velocity = step == 1 ? 0.0f : f.momentum; // the first velocity is the gradient
  f.nesterov = s.nesterov;
  return f;
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
    o.partial[index] = optimizerLoops().sumOfSquares(o.parameters[b.parameter].gradient + b.first, b.count);
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
    const OptimizerFactors factors =
        factorsOf(o.settings, p, o.gradientScale, o.stepCount, o.correction1, o.correction2);
    const OptimizerLoops &loops = optimizerLoops();
    const float *g = p.gradient + b.first;
    if (o.settings.kind != OptimizerKind::SGD)
      loops.adam(p.value + b.first, p.first + b.first, p.second + b.first, g, b.count, factors);
    else
      loops.sgd(p.value + b.first, p.first && factors.momentum != 0 ? p.first + b.first : nullptr, g, b.count, factors);
  });
}

void Optimizer::addGradients(Pool &pool, float *const *more) {
  added = more;
  runBlocks(pool, [](Optimizer &o, const Block &b, uint64_t) {
    optimizerLoops().add(o.parameters[b.parameter].gradient + b.first, o.added[b.parameter] + b.first, b.count);
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
