// The part of CUDA that our kernels use, on a CPU: correctness without a GPU.
//
// One block runs at a time per OS thread. Its CUDA threads are fibers that run
// until a barrier; the block is done when all have returned. A kernel that never
// synchronises costs one fiber switch per thread. Shared memory is thread-local
// storage of the OS thread. Nothing here says anything about speed.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <ucontext.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__ static thread_local
#define __launch_bounds__(...)
#define __restrict__ __restrict

namespace llmopt_emulation {

struct Index3 {
  unsigned x = 0, y = 0, z = 0;
};

constexpr int kMaxThreads = 1024;
constexpr size_t kStackBytes = 64 * 1024;

struct Block {
  ucontext_t scheduler;
  ucontext_t fibers[kMaxThreads];
  bool finished[kMaxThreads];
  char *stacks = nullptr;
  int current = 0;
  void (*entry)(void *) = nullptr;
  void *argument = nullptr;
  ~Block() { free(stacks); }
};

inline thread_local Block block;
inline thread_local Index3 thread_index, block_index, block_dim, grid_dim;

inline void fiber_main() {
  Block &b = block;
  b.entry(b.argument);
  b.finished[b.current] = true;
  swapcontext(&b.fibers[b.current], &b.scheduler);
}

/// Returns to the scheduler, which runs every other thread of the block up to
/// its next barrier (or its end) first.
inline void synchronise() {
  Block &b = block;
  swapcontext(&b.fibers[b.current], &b.scheduler);
}

/// Runs block `index` of `threads` threads; false if there is no memory.
template <typename Kernel> bool run_block(int64_t index, int threads, Kernel kernel) {
  Block &b = block;
  if (!b.stacks)
    b.stacks = static_cast<char *>(malloc(kMaxThreads * kStackBytes));
  if (!b.stacks)
    return false;
  b.entry = [](void *argument) { (*static_cast<Kernel *>(argument))(); };
  b.argument = &kernel;
  block_index.x = static_cast<unsigned>(index);
  block_dim.x = static_cast<unsigned>(threads);
  for (int i = 0; i < threads; ++i) {
    b.finished[i] = false;
    getcontext(&b.fibers[i]);
    b.fibers[i].uc_stack.ss_sp = b.stacks + i * kStackBytes;
    b.fibers[i].uc_stack.ss_size = kStackBytes;
    b.fibers[i].uc_link = nullptr;
    makecontext(&b.fibers[i], fiber_main, 0);
  }
  for (int running = threads; running > 0;) {
    running = 0;
    for (int i = 0; i < threads; ++i) {
      if (b.finished[i])
        continue;
      b.current = i;
      thread_index.x = static_cast<unsigned>(i);
      swapcontext(&b.scheduler, &b.fibers[i]);
      running += !b.finished[i];
    }
  }
  return true;
}

} // namespace llmopt_emulation

#define threadIdx (llmopt_emulation::thread_index)
#define blockIdx (llmopt_emulation::block_index)
#define blockDim (llmopt_emulation::block_dim)
#define gridDim (llmopt_emulation::grid_dim)
#define __syncthreads() llmopt_emulation::synchronise()

// ---- calling kernels from llmopt_kernel_fn (Runtime/abi.h)

#include <type_traits>
#include <utility>

namespace llmopt_emulation {

/// Parameter `index` of a kernel: its buffers, then its sizes, then scratch memory.
template <typename T>
T pick(size_t index, size_t buffers, void *const *args, const int64_t *dims, char *scratch) {
  if constexpr (std::is_pointer_v<T>)
    return (T)(index < buffers ? args[index] : scratch);
  else
    return (T)dims[index - buffers];
}

template <typename... Params, size_t... Index>
void launch(void (*kernel)(Params...), std::index_sequence<Index...>, size_t buffers, int threads, void *const *args,
            const int64_t *dims, int64_t tile, char *scratch) {
  run_block(tile, threads, [&] { kernel(pick<Params>(Index, buffers, args, dims, scratch)...); });
}

/// Runs block `tile`. `scratch_bytes` is what one block uses of `scratch`, which
/// kernels address from the start of the memory of all blocks.
template <typename... Params>
void launch(void (*kernel)(Params...), size_t buffers, int threads, void *const *args, const int64_t *dims,
            int64_t tile, void *scratch, int64_t scratch_bytes) {
  launch(kernel, std::index_sequence_for<Params...>(), buffers, threads, args, dims, tile,
         static_cast<char *>(scratch) - tile * scratch_bytes);
}

} // namespace llmopt_emulation
