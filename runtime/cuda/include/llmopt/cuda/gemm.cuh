// y = activation(alpha x W + bias) + residual, W a constant packed in panels:
// [ceil(N/64)][K][64], zeros beyond N.
//
// One block of 256 threads gives a 64 x 64 tile of y, each thread 4 x 4 of it;
// slices of 16 along K pass through shared memory. Simple and correct first:
// tensor cores come with other headers.
#pragma once

#include "llmopt/cuda/common.cuh"

namespace llmopt {

constexpr int kGemmTile = 64;
constexpr int kGemmSlice = 16;

struct GemmShape {
  int64_t rows; // M
  int64_t n, k;
  int64_t row_stride; // elements between rows of x
  int64_t row_offset; // first element of x
};

/// Converts the sum of one element of y, and stores it.
template <Activation A, bool HasBias, bool HasResidual>
__device__ __forceinline__ void gemm_epilogue(float sum, int64_t row, int64_t column, const GemmShape &shape,
                                              const float *bias, const float *residual, float *y) {
  if (row >= shape.rows || column >= shape.n)
    return;
  if (HasBias)
    sum += bias[column];
  sum = activate<A>(sum);
  if (HasResidual)
    sum += residual[row * shape.n + column];
  y[row * shape.n + column] = sum;
}

template <Activation A, bool HasBias, bool HasResidual>
__device__ void gemm_f32(const float *x, const float *w, const float *bias, const float *residual, float *y,
                         GemmShape shape, float alpha) {
  __shared__ float xs[kGemmSlice][kGemmTile];
  __shared__ float ws[kGemmSlice][kGemmTile];
  const int64_t column_tiles = (shape.n + kGemmTile - 1) / kGemmTile;
  const int64_t first_row = blockIdx.x / column_tiles * kGemmTile;
  const int64_t panel = blockIdx.x % column_tiles;
  const float *panel_weights = w + panel * shape.k * kGemmTile;
  const int thread_row = threadIdx.x / 16 * 4, thread_column = threadIdx.x % 16 * 4;

  float sum[4][4] = {};
  for (int64_t k0 = 0; k0 < shape.k; k0 += kGemmSlice) {
    for (int i = threadIdx.x; i < kGemmSlice * kGemmTile; i += 256) {
      const int row = i / kGemmSlice, k = i % kGemmSlice;
      const bool inside = first_row + row < shape.rows && k0 + k < shape.k;
      xs[k][row] = inside ? x[shape.row_offset + (first_row + row) * shape.row_stride + k0 + k] : 0.0f;
    }
    for (int i = threadIdx.x; i < kGemmSlice * kGemmTile; i += 256) {
      const int k = i / kGemmTile, column = i % kGemmTile;
      ws[k][column] = k0 + k < shape.k ? panel_weights[(k0 + k) * kGemmTile + column] : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < kGemmSlice; ++k)
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j)
          sum[i][j] = fmaf(xs[k][thread_row + i], ws[k][thread_column + j], sum[i][j]);
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j)
      gemm_epilogue<A, HasBias, HasResidual>(alpha * sum[i][j], first_row + thread_row + i,
                                             panel * kGemmTile + thread_column + j, shape, bias, residual, y);
}

/// The same product of integers: x is [M, K] int8 with one scale per row, W int8
/// with one scale per column, sums are exact in int32.
template <Activation A, bool HasBias, bool HasResidual>
__device__ void gemm_s8(const int8_t *x, const float *x_scale, const int8_t *w, const float *w_scale, const float *bias,
                        const float *residual, float *y, GemmShape shape) {
  __shared__ int8_t xs[kGemmSlice][kGemmTile];
  __shared__ int8_t ws[kGemmSlice][kGemmTile];
  const int64_t column_tiles = (shape.n + kGemmTile - 1) / kGemmTile;
  const int64_t first_row = blockIdx.x / column_tiles * kGemmTile;
  const int64_t panel = blockIdx.x % column_tiles;
  const int8_t *panel_weights = w + panel * shape.k * kGemmTile;
  const int thread_row = threadIdx.x / 16 * 4, thread_column = threadIdx.x % 16 * 4;

  int32_t sum[4][4] = {};
  for (int64_t k0 = 0; k0 < shape.k; k0 += kGemmSlice) {
    for (int i = threadIdx.x; i < kGemmSlice * kGemmTile; i += 256) {
      const int row = i / kGemmSlice, k = i % kGemmSlice;
      const bool inside = first_row + row < shape.rows && k0 + k < shape.k;
      xs[k][row] = inside ? x[(first_row + row) * shape.k + k0 + k] : 0;
    }
    for (int i = threadIdx.x; i < kGemmSlice * kGemmTile; i += 256) {
      const int k = i / kGemmTile, column = i % kGemmTile;
      ws[k][column] = k0 + k < shape.k ? panel_weights[(k0 + k) * kGemmTile + column] : 0;
    }
    __syncthreads();
    for (int k = 0; k < kGemmSlice; ++k)
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j)
          sum[i][j] += (int32_t)xs[k][thread_row + i] * (int32_t)ws[k][thread_column + j];
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      const int64_t row = first_row + thread_row + i, column = panel * kGemmTile + thread_column + j;
      if (row >= shape.rows || column >= shape.n)
        continue;
      gemm_epilogue<A, HasBias, HasResidual>((float)sum[i][j] * (x_scale[row] * w_scale[column]), row, column, shape,
                                             bias, residual, y);
    }
}

/// y[b] = alpha op(A[b]) op(B[b]), both activations; one thread per element.
struct MatmulShape {
  int64_t batch, m, n, k;
  int64_t batch_stride_a, batch_stride_b; // elements; 0 where one matrix serves all
};
template <bool TransA, bool TransB>
__device__ void batched_matmul_f32(const float *a, const float *b, float *y, MatmulShape shape, float alpha) {
  const int64_t index = (int64_t)blockIdx.x * 256 + threadIdx.x;
  if (index >= shape.batch * shape.m * shape.n)
    return;
  const int64_t column = index % shape.n, row = index / shape.n % shape.m, batch = index / shape.n / shape.m;
  a += batch * shape.batch_stride_a;
  b += batch * shape.batch_stride_b;
  float sum = 0.0f;
  for (int64_t k = 0; k < shape.k; ++k)
    sum = fmaf(TransA ? a[k * shape.m + row] : a[row * shape.k + k],
               TransB ? b[column * shape.k + k] : b[k * shape.n + column], sum);
  y[index] = alpha * sum;
}

} // namespace llmopt
