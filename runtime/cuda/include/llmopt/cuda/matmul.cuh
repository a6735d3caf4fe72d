// y[b] = alpha op(A[b]) op(B[b]), both activations; one thread per element.
#pragma once

#include "llmopt/cuda/memory.cuh"
#include "llmopt/cuda/types.cuh"

namespace llmopt {

struct MatmulShape {
  int64_t batch, m, n, k;
  int64_t batch_stride_a, batch_stride_b; // elements; 0 where one matrix serves all
};
/// Sums are f32, in the order of K.
template <typename T, bool TransA, bool TransB>
__device__ void batched_matmul(const T *a, const T *b, T *y, MatmulShape shape, float alpha) {
  const int64_t index = (int64_t)blockIdx.x * 256 + threadIdx.x;
  if (index >= shape.batch * shape.m * shape.n)
    return;
  const int64_t column = index % shape.n, row = index / shape.n % shape.m, batch = index / shape.n / shape.m;
  const global<const T> as(a + batch * shape.batch_stride_a), bs(b + batch * shape.batch_stride_b);
  const global<T> out(y);
  float sum = 0.0f;
  for (int64_t k = 0; k < shape.k; ++k)
    sum = fmaf(to_float(as[TransA ? k * shape.m + row : row * shape.k + k]),
               to_float(bs[TransB ? column * shape.k + k : k * shape.n + column]), sum);
  out[index] = from_float<T>(alpha * sum);
}

} // namespace llmopt
