// Kernels that work on whole rows, one block of 256 threads per row.
#pragma once

#include "llmopt/cuda/common.cuh"

namespace llmopt {

constexpr int kRowThreads = 256;

/// Layer or RMS normalisation of the row that `load(i)` gives, two passes over it.
template <bool IsLayer, typename Load>
__device__ __forceinline__ void normalise_row(Load load, const float *scale, const float *bias, float *y, int64_t width,
                                              float epsilon) {
  float mean = 0.0f;
  if (IsLayer) {
    float sum = 0.0f;
    for (int64_t i = threadIdx.x; i < width; i += kRowThreads)
      sum += load(i);
    mean = block_reduce<kRowThreads>(sum, Sum()) / (float)width;
  }
  float squares = 0.0f;
  for (int64_t i = threadIdx.x; i < width; i += kRowThreads) {
    const float centred = load(i) - mean;
    squares += centred * centred;
  }
  const float variance = block_reduce<kRowThreads>(squares, Sum()) / (float)width;
  const float inverse = 1.0f / sqrtf(variance + epsilon);
  for (int64_t i = threadIdx.x; i < width; i += kRowThreads) {
    float value = (load(i) - mean) * inverse;
    if (scale)
      value *= scale[i];
    if (bias)
      value += bias[i];
    y[i] = value;
  }
}

/// y = norm(x + residual + input_bias); `sum`, where given, gets what is normalised.
template <bool IsLayer>
__device__ void norm_rows(const float *x, const float *residual, const float *input_bias, const float *scale,
                          const float *bias, float *y, float *sum, int64_t width, float epsilon) {
  const int64_t first = (int64_t)blockIdx.x * width;
  auto load = [&](int64_t i) {
    float value = x[first + i];
    if (residual)
      value += residual[first + i];
    if (input_bias)
      value += input_bias[i];
    return value;
  };
  if (sum)
    for (int64_t i = threadIdx.x; i < width; i += kRowThreads)
      sum[first + i] = load(i);
  normalise_row<IsLayer>(load, scale, bias, y + first, width, epsilon);
}

template <bool Log> __device__ void softmax_rows(const float *x, float *y, int64_t width) {
  const int64_t first = (int64_t)blockIdx.x * width;
  float largest = -INFINITY;
  for (int64_t i = threadIdx.x; i < width; i += kRowThreads)
    largest = Max()(largest, x[first + i]);
  largest = block_reduce<kRowThreads>(largest, Max());
  float sum = 0.0f;
  for (int64_t i = threadIdx.x; i < width; i += kRowThreads)
    sum += expf(x[first + i] - largest);
  sum = block_reduce<kRowThreads>(sum, Sum());
  for (int64_t i = threadIdx.x; i < width; i += kRowThreads)
    y[first + i] = Log ? x[first + i] - largest - logf(sum) : expf(x[first + i] - largest) / sum;
}

/// Symmetric int8 with one scale per row: scale = max |x| / 127, 1 for a row of
/// zeros and NaN for a row that holds a NaN or an infinity; q = round half to even,
/// in [-127, 127].
__device__ inline void quantize_rows(const float *x, int8_t *q, float *scale, int64_t width) {
  const int64_t first = (int64_t)blockIdx.x * width;
  float largest = 0.0f;
  for (int64_t i = threadIdx.x; i < width; i += kRowThreads)
    largest = Max()(largest, fabsf(x[first + i]));
  largest = block_reduce<kRowThreads>(largest, Max());
  const float row_scale = largest == 0.0f ? 1.0f : largest / 127.0f + (largest - largest);
  for (int64_t i = threadIdx.x; i < width; i += kRowThreads) {
    float value = rintf(x[first + i] / row_scale);
    value = value < -127.0f ? -127.0f : value > 127.0f ? 127.0f : value;
    q[first + i] = value == value ? (int8_t)value : 0;
  }
  if (threadIdx.x == 0)
    scale[blockIdx.x] = row_scale;
}

/// A table of embeddings and the ids that pick its rows; row r of the result uses
/// ids[r % count]. Negative ids count from the end; others are kept inside.
template <typename Id> struct EmbeddingTable {
  const float *table;
  const Id *ids;
  int64_t vocabulary, count;
  __device__ const float *row(int64_t r, int64_t width) const {
    int64_t id = (int64_t)ids[r % count];
    if (id < 0)
      id += vocabulary;
    id = id < 0 ? 0 : id >= vocabulary ? vocabulary - 1 : id;
    return table + id * width;
  }
};

} // namespace llmopt
