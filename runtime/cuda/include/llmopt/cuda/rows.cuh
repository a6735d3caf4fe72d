// Kernels that work on whole rows, one block of 256 threads per row.
#pragma once

#include "llmopt/cuda/memory.cuh"
#include "llmopt/cuda/types.cuh"

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

/// For widths that are known at run time only; norm.cuh has softmax in registers.
template <bool Log, typename T> __device__ void softmax_rows(const T *x, T *y, int64_t width) {
  const int64_t first = (int64_t)blockIdx.x * width;
  const global<const T> row(x + first);
  const global<T> out(y + first);
  float largest = -INFINITY;
  for (int64_t i = threadIdx.x; i < width; i += kRowThreads)
    largest = Max()(largest, to_float(row[i]));
  largest = block_reduce<kRowThreads>(largest, Max());
  float sum = 0.0f;
  for (int64_t i = threadIdx.x; i < width; i += kRowThreads)
    sum += expf(to_float(row[i]) - largest);
  sum = block_reduce<kRowThreads>(sum, Sum());
  for (int64_t i = threadIdx.x; i < width; i += kRowThreads) {
    const float shifted = to_float(row[i]) - largest;
    out[i] = from_float<T>(Log ? shifted - logf(sum) : expf(shifted) / sum);
  }
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

} // namespace llmopt
