// What a step costs beyond its kernel: publishing it, claiming tiles, and the
// barrier at its end. Chains of empty and of short steps, one thread and
// several; nanoseconds per step, the median over repetitions and the best (what
// remains on a machine that others use as well).
//
//   ninja llmopt_step_cost && bin/llmopt_step_cost [threads]
#include "pool.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

using namespace llmopt::rt;

namespace {
/// dims[0]: rounds of dependent arithmetic
void work(void *const *args, const int64_t *dims, int64_t tile, void *) {
  uint64_t x = uint64_t(tile);
  for (int64_t i = 0; i < dims[0]; ++i)
    x = x * 6364136223846793005u + 1;
  static_cast<volatile uint64_t *>(args[0])[tile * 16] = x;
}

struct Cost {
  double median, best;
};

Cost nsPerStep(Pool &pool, uint32_t tiles, int64_t rounds, int repetitions) {
  static uint64_t sink[16 * 64];
  void *args[] = {sink};
  int64_t dims[] = {rounds};
  std::vector<char> scratch(pool.threads() * 128);
  PreparedStep step = {work, args, dims, tiles};
  constexpr int steps = 50;
  std::vector<double> samples;
  for (int r = 0; r < repetitions; ++r) {
    auto before = std::chrono::steady_clock::now();
    for (int s = 0; s < steps; ++s)
      pool.run(step, scratch.data(), 128);
    std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - before;
    samples.push_back(spent.count() / steps);
  }
  std::sort(samples.begin(), samples.end());
  return {samples[samples.size() / 2], samples[0]};
}
} // namespace

int main(int argc, char **argv) {
  uint32_t threads = argc > 1 ? uint32_t(std::atoi(argv[1])) : 2;
  Pool one, many;
  if (one.start(1, nullptr) || many.start(threads, nullptr))
    return 4;
  std::printf("%5s %9s | %9s %9s %9s | %9s %9s %9s\n", "tiles", "ns/tile", "1 thread", "median", "best", "ideal",
              "+ median", "+ best");
  for (uint32_t tiles : {1u, 2u, 4u, 16u})
    for (int64_t rounds : {0, 250, 2500, 25000}) {
      Cost serial = nsPerStep(one, tiles, rounds, 400);
      Cost shared = nsPerStep(many, tiles, rounds, 400);
      double tile = serial.best / tiles;
      double ideal = tile * ((tiles + threads - 1) / threads);
      std::printf("%5u %9.0f | %9.0f %9.0f %9.0f | %9.0f %9.0f %9.0f\n", tiles, tile, serial.best, shared.median,
                  shared.best, ideal, shared.median - ideal, shared.best - ideal);
    }
  return 0;
}
