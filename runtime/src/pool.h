// The threads of a session.
//
// One thread, the caller of run, walks the steps; the workers help with the
// step at hand. A step is published as a ticket: generation and tiles not yet
// claimed in one 64-bit word. Whoever swaps the ticket for one with a tile less
// owns that tile. The caller claims too, and leaves a step when every tile is
// done, so that
//  - a worker that is late, parked or without a CPU delays nothing unless it
//    holds a tile: with no help at all the caller does everything itself;
//  - a barrier is one counter that the caller reads, not a meeting of threads;
//  - a claim is valid by construction: it fails if the step moved on.
// Waiting spins for a bounded time, then sleeps in the kernel, so that many
// sessions on few CPUs stay live.
#ifndef LLMOPT_RT_POOL_H
#define LLMOPT_RT_POOL_H

#include "common.h"

#include <atomic>
#include <pthread.h>

namespace llmopt::rt {

/// A step with everything resolved: what remains is to call its tiles, or, where
/// there is no kernel, to do what `control` says.
struct PreparedStep {
  llmopt_kernel_fn kernel;
  void *const *args;
  const int64_t *dims;
  uint32_t tiles; ///< of a control step: its target
  uint32_t control;
  uint32_t numArgs, numDims;
};

class Pool {
public:
  Pool() = default;
  Pool(const Pool &) = delete;
  Pool &operator=(const Pool &) = delete;
  ~Pool();

  /// Starts `threads - 1` workers. A failed start leaves the object as it was.
  llmopt_status start(uint32_t threads, llmopt_error *error);
  uint32_t threads() const { return numWorkers + 1; }

  /// Runs the tiles of one step on all threads and returns when all are done.
  /// `scratch` is the base of the threads' private memory, `stride` bytes each;
  /// the caller's comes first.
  void run(const PreparedStep &step, char *scratch, uint64_t stride) {
    // Only numWorkers is looked at in a session of one thread.
    if (numWorkers == 0 || step.tiles <= 1) {
      for (uint32_t t = 0; t < step.tiles; ++t)
        step.kernel(step.args, step.dims, t, scratch);
      return;
    }
    runShared(step, scratch, stride);
  }

private:
  struct Worker {
    Pool *pool;
    uint32_t index;
    pthread_t thread;
  };

  void runShared(const PreparedStep &step, char *scratch, uint64_t stride);
  uint32_t claimAndRun(uint32_t thread);
  void workerLoop(uint32_t thread);
  void stop(uint32_t started);
  static void *workerMain(void *argument);

  // Apart from each other by more than the pairs of lines that prefetchers
  // fetch: who spins on one is not disturbed by writes to another.
  static constexpr size_t apart = 128;

  /// Generation in the upper half, unclaimed tiles in the lower.
  alignas(apart) std::atomic<uint64_t> ticket{0};
  // Stable while any tile of the present generation is unfinished.
  const PreparedStep *current = nullptr;
  char *scratchBase = nullptr;
  uint64_t scratchStride = 0;

  alignas(apart) std::atomic<uint32_t> done{0}; ///< tiles finished; a futex
  std::atomic<uint32_t> callerSleeps{0};

  alignas(apart) std::atomic<uint32_t> wakeups{0}; ///< a futex
  std::atomic<uint32_t> workersSleep{0};
  std::atomic<uint32_t> stopping{0};

  alignas(apart) uint32_t numWorkers = 0;
  uint64_t spinNs = 0;
  Array<Worker> workers;
};

/// CPUs that this process may run on; at least 1.
uint32_t availableCpus();

} // namespace llmopt::rt

#endif
