// The part of CUDA that our kernels use, on a CPU: correctness without a GPU.
//
//   emulation/fiber.h    stacks and switches     emulation/warp.h     shuffles, votes
//   emulation/block.h    threads and barriers    emulation/tensor.h   ldmatrix, mma.sync
//   emulation/memory.h   bounds and races        emulation/atomics.h  atomic operations
//   emulation/async.h    cp.async, mbarrier      emulation/launch.h   running kernels
//
// Environment: LLMOPT_EMULATION_SEED=n runs threads and blocks in an order that n picks,
// LLMOPT_EMULATION_CHECK=0 turns the race detector off. Nothing here says anything
// about speed.
#pragma once

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__ static thread_local
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) alignas(n)

#include "llmopt/cuda/emulation/async.h"
#include "llmopt/cuda/emulation/atomics.h"
#include "llmopt/cuda/emulation/block.h"
#include "llmopt/cuda/emulation/fiber.h"
#include "llmopt/cuda/emulation/launch.h"
#include "llmopt/cuda/emulation/memory.h"
#include "llmopt/cuda/emulation/tensor.h"
#include "llmopt/cuda/emulation/vectors.h"
#include "llmopt/cuda/emulation/warp.h"

#define threadIdx (llmopt_emulation::thread_index)
#define blockIdx (llmopt_emulation::block_index)
#define blockDim (llmopt_emulation::block_dim)
#define gridDim (llmopt_emulation::grid_dim)
#define __syncthreads() ((void)llmopt_emulation::synchronise(__FILE__, __LINE__))
#define __syncthreads_count(predicate) llmopt_emulation::synchronise(__FILE__, __LINE__, (predicate) ? 1 : 0)
#define __syncthreads_or(predicate) (__syncthreads_count(predicate) != 0)
#define __syncthreads_and(predicate) (__syncthreads_count(!(predicate)) == 0)
