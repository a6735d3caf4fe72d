// What all kernels share: the CUDA environment (or its emulation on a CPU),
// activations, reductions over a block.
//
// Shapes are named B (batch), S (sequence), H (heads), D (head dimension), M, N,
// K as usual. Tensors are row major and dense unless a stride is given. Sums are
// f32 in a fixed order, so bits do not depend on the launch.
#pragma once

#include <math.h>
#include <stdint.h>

#ifdef LLMOPT_EMULATE
#include "llmopt/cuda/emulation.h"
#endif

namespace llmopt {

enum class Activation { none, relu, gelu_erf, gelu_tanh, gelu_quick, tanh, sigmoid, silu };

template <Activation A> __device__ __forceinline__ float activate(float x) {
  if (A == Activation::relu)
    return x > 0.0f || x != x ? x : 0.0f;
  if (A == Activation::gelu_erf)
    return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  if (A == Activation::gelu_tanh)
    return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  if (A == Activation::gelu_quick)
    return x / (1.0f + expf(-1.702f * x));
  if (A == Activation::tanh)
    return tanhf(x);
  if (A == Activation::sigmoid)
    return 1.0f / (1.0f + expf(-x));
  if (A == Activation::silu)
    return x / (1.0f + expf(-x));
  return x;
}

/// Combines one value per thread of a block of `Threads` (a power of two); every
/// thread gets the result.
template <int Threads, typename Combine> __device__ __forceinline__ float block_reduce(float value, Combine combine) {
  __shared__ float partial[Threads];
  __syncthreads();
  partial[threadIdx.x] = value;
  __syncthreads();
  for (int width = Threads / 2; width > 0; width /= 2) {
    if ((int)threadIdx.x < width)
      partial[threadIdx.x] = combine(partial[threadIdx.x], partial[threadIdx.x + width]);
    __syncthreads();
  }
  return partial[0];
}

struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
};
/// NaN if either is.
struct Max {
  __device__ float operator()(float a, float b) const { return a != a || a > b ? a : b; }
};

} // namespace llmopt
