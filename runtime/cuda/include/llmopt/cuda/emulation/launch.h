// Running kernels: whole grids as cuLaunchKernel does, or one block for
// llmopt_kernel_fn (Runtime/abi.h).
#pragma once

#include "llmopt/cuda/emulation/async.h"

#include <utility>

namespace llmopt_emulation {

/// Runs the current block_index as a block of block_dim threads; false, with
/// last_error(), if it did not come to its end.
template <typename Kernel> bool run_block_here(size_t shared_bytes, Kernel kernel) {
  Block *b = get_block();
  const unsigned long long threads = 1ull * block_dim.x * block_dim.y * block_dim.z;
  if (!b)
    return false;
  if (threads == 0 || threads > kMaxThreads) {
    set_error("expected a block of 1 to %d threads, but got %llu", kMaxThreads, threads);
    return false;
  }
  if (shared_bytes > kSharedBytes) {
    set_error("expected at most %u bytes of dynamic shared memory, but got %zu", kSharedBytes, shared_bytes);
    return false;
  }
  const int count = static_cast<int>(threads);
  if (!reset_memory(static_cast<uint32_t>(shared_bytes), (count + kWarp - 1) / kWarp) || !reset_async(count))
    return false;
  b->entry = [](void *argument) { (*static_cast<Kernel *>(argument))(); };
  b->argument = &kernel;
  return run_fibers(*b, count);
}

inline void seed_block(uint64_t seed) {
  if (Block *b = get_block())
    b->random = seed;
}

template <typename... P, size_t... Index>
void call_kernel(void (*kernel)(P...), void *const *parameters, std::index_sequence<Index...>) {
  (void)parameters; // of a kernel without any
  kernel(*static_cast<std::remove_cv_t<std::remove_reference_t<P>> *>(parameters[Index])...);
}

/// Runs all blocks of `grid`, one after the other, in an order that LLMOPT_EMULATION_SEED
/// shuffles; `kernel_params` are pointers to the arguments, as of cuLaunchKernel. False,
/// with last_error(), if a block does not come to its end; none is run after it.
template <typename... P>
bool run_grid(void (*kernel)(P...), Dim3 grid, Dim3 block_size, size_t dynamic_shared_bytes,
              void *const *kernel_params) {
  clear_error();
  block_dim = block_size;
  grid_dim = grid;
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z, seed = seed_from_environment();
  seed_block(seed);
  // A step that shares no factor with the number of blocks visits each once.
  uint64_t step = 1, index = 0;
  if (seed && blocks > 2) {
    auto gcd = [](uint64_t a, uint64_t b) {
      while (b) {
        const uint64_t rest = a % b;
        a = b;
        b = rest;
      }
      return a;
    };
    for (step = 1 + (seed >> 20) % (blocks - 1); gcd(step, blocks) != 1;)
      ++step;
    index = (seed >> 8) % blocks;
  }
  for (uint64_t i = 0; i < blocks; ++i, index = (index + step) % blocks) {
    block_index.x = static_cast<unsigned>(index % grid.x);
    block_index.y = static_cast<unsigned>(index / grid.x % grid.y);
    block_index.z = static_cast<unsigned>(index / grid.x / grid.y);
    if (!run_block_here(dynamic_shared_bytes,
                        [&] { call_kernel(kernel, kernel_params, std::index_sequence_for<P...>()); }))
      return false;
  }
  return true;
}

/// Parameter `index` of a kernel: its buffers, then its sizes, then scratch memory.
template <typename T> T pick(size_t index, size_t buffers, void *const *args, const int64_t *dims, char *scratch) {
  if constexpr (std::is_pointer_v<T>)
    return (T)(index < buffers ? args[index] : scratch);
  else
    return (T)dims[index - buffers];
}

template <typename... Params, size_t... Index>
bool launch(void (*kernel)(Params...), std::index_sequence<Index...>, size_t buffers, void *const *args,
            const int64_t *dims, char *scratch, size_t shared_bytes) {
  return run_block_here(shared_bytes, [&] { kernel(pick<Params>(Index, buffers, args, dims, scratch)...); });
}

/// Runs block `tile` of `threads` threads. `scratch_bytes` is what one block uses of
/// `scratch`, which kernels address from the start of the memory of all blocks; gridDim
/// is not known here. False, with last_error(), if the block does not come to its end;
/// llmopt_kernel_fn has no way to say so, so that the error goes to stderr, too.
template <typename... Params>
bool launch(void (*kernel)(Params...), size_t buffers, int threads, void *const *args, const int64_t *dims,
            int64_t tile, void *scratch, int64_t scratch_bytes, size_t shared_bytes = 0) {
  clear_error();
  block_dim = {static_cast<unsigned>(threads), 1, 1};
  grid_dim = {0, 1, 1};
  block_index = Index3();
  block_index.x = static_cast<unsigned>(tile);
  static const uint64_t seed = seed_from_environment();
  seed_block(seed);
  if (launch(kernel, std::index_sequence_for<Params...>(), buffers, args, dims,
             static_cast<char *>(scratch) - tile * scratch_bytes, shared_bytes))
    return true;
  fprintf(stderr, "emulation: %s\n", last_error());
  return false;
}

} // namespace llmopt_emulation
