// What the programs that measure kernels share: clocks, CPUs, data, and times of tiles.
#ifndef LLMOPT_BENCH_HARNESS_H
#define LLMOPT_BENCH_HARNESS_H

#include "KernelLibrary.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <sched.h>
#include <time.h>
#include <vector>

namespace llmopt::bench {

inline double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

/// Pins the calling thread to one of the CPUs that the process was started on.
inline void pin(size_t index) {
  static const std::vector<int> cpus = [] {
    cpu_set_t all;
    sched_getaffinity(0, sizeof all, &all);
    std::vector<int> list;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &all))
        list.push_back(cpu);
    return list;
  }();
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpus[index % cpus.size()], &one);
  sched_setaffinity(0, sizeof one, &one);
}

inline size_t countCpus() {
  cpu_set_t all;
  sched_getaffinity(0, sizeof all, &all);
  return CPU_COUNT(&all);
}

/// 64-byte aligned memory.
class Buffer {
public:
  /// Floats in [low, high): never subnormal, which would take hundreds of cycles, where
  /// the range holds none.
  static Buffer floats(size_t count, float low = -1, float high = 1) {
    std::mt19937 rng(1);
    std::uniform_real_distribution<float> uniform(low, high);
    Buffer buffer(count * 4);
    for (size_t i = 0; i < count; ++i) {
      float value = uniform(rng);
      memcpy(buffer.data() + 4 * i, &value, 4);
    }
    return buffer;
  }
  /// Random bytes.
  static Buffer bytes(size_t size) {
    std::mt19937 rng(1);
    Buffer buffer(size);
    for (size_t i = 0; i + 4 <= size; i += 4) {
      uint32_t bits = rng();
      memcpy(buffer.data() + i, &bits, 4);
    }
    return buffer;
  }
  explicit Buffer(size_t size) : memory(static_cast<char *>(aligned_alloc(64, (size + 127) / 64 * 64)), free) {}
  char *data() const { return memory.get(); }
  operator void *() const { return memory.get(); }

private:
  std::unique_ptr<char, void (*)(void *)> memory;
};

/// Seconds of whole runs, in order; and of a run all of whose tiles took their best, the
/// figure that other processes disturb least.
struct Times {
  std::vector<double> runs;
  double bestOfEachTile = 0;

  double best() const { return runs.front(); }
  double median() const { return runs[runs.size() / 2]; }
};

inline Times timeTiles(llmopt_kernel_fn kernel, void **args, const int64_t *dims, int64_t tiles, void *scratch,
                       int repetitions) {
  Times times;
  std::vector<double> best(tiles, 1e9);
  for (int i = 0; i < repetitions; ++i) {
    double start = now(), last = start;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      kernel(args, dims, tile, scratch);
      double end = now();
      best[tile] = std::min(best[tile], end - last);
      last = end;
    }
    times.runs.push_back(last - start);
  }
  std::sort(times.runs.begin(), times.runs.end());
  for (double t : best)
    times.bestOfEachTile += t;
  return times;
}

} // namespace llmopt::bench
#endif
