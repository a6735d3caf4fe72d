// Kernels that start before the one in front of them is done (programmatic dependent launch,
// sm_90: PTX ISA, griddepcontrol). What a kernel does before `grid_dependency_wait` may touch
// nothing but constant memory: weights. Every thread of every block waits, also those with
// nothing to do, so that a kernel is not done before all in front of it are.
//
// On other devices, and where the launch did not ask for it, a kernel starts when the one in
// front is done, and these functions are nothing.
#pragma once

#include "llmopt/cuda/memory.cuh"

namespace llmopt {

/// Until all kernels in front are done and what they wrote can be read.
__device__ __forceinline__ void grid_dependency_wait() {
#ifdef LLMOPT_EMULATE
  llmopt_emulation::wait_for_grid_dependency();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// The next kernel may start once all blocks have come here, or ended.
__device__ __forceinline__ void grid_dependents_launch() {
#if !defined(LLMOPT_EMULATE) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/// Asks L2 for bytes [begin, begin + bytes) of constant memory of `size` bytes, a line of 128
/// per thread of the block and not more.
__device__ __forceinline__ void prefetch_constants(const void *memory, int64_t begin, int64_t bytes, int64_t size) {
  const int64_t at = (int64_t)threadIdx.x * 128;
  if (at < bytes && begin + at < size) {
    const global<const char> line((const char *)memory + begin + at);
#ifdef LLMOPT_EMULATE
    (void)*line;
#else
    asm volatile("prefetch.global.L2 [%0];" ::"l"(line));
#endif
  }
}

} // namespace llmopt
