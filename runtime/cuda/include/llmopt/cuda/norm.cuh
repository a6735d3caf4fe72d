// Layer and RMS normalisation, int8 quantization of rows, and embeddings with a norm:
//
//   sum = x + residual + input_bias          (or the sum of rows of tables)
//   y = (sum - mean) / sqrt(variance + epsilon) * scale + bias
//   q = round(y / q_scale) + zero, one q_scale and zero for all, or max |y| / 127 of each
//       row and no zero
//
// mean is 0 for RMS. Everything is f32 in registers (row_chunks.cuh); two passes over them,
// none over memory. Pointers that are null are left out.
#pragma once

#include "llmopt/cuda/row_chunks.cuh"
#include "llmopt/cuda/rows.cuh"

namespace llmopt {

/// `T`: of tensors; `P`: of scale and biases; `Q`: int8_t, or e4m3 with a scale per row.
template <typename T, typename P = float, typename Q = int8_t> struct NormArguments {
  const T *x;
  const T *residual;
  const P *input_bias, *scale, *bias;
  T *y;
  T *sum;            // what is normalised
  Q *q;              // y quantized
  float *q_scale;    // per row, where scales are dynamic
  TensorScale fixed; // else this one
  int64_t rows, width;
  float epsilon;
};

/// Normalises what `values` holds of one row, and stores it.
template <typename Form, bool IsLayer, bool Dynamic, typename T, typename P, typename Q>
__device__ __forceinline__ void finish_norm(RowValues<Form> &values, const RowPlace<Form> &at,
                                            const NormArguments<T, P, Q> &a) {
  const bool inside = at.row < a.rows;
  const int64_t first = at.row * a.width;
  float mean = 0.0f;
  if (IsLayer) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < Form::kChunks; ++i)
#pragma unroll
      for (int e = 0; e < Form::kElements; ++e)
        sum += values[i][e];
    mean = row_reduce<Form>(sum, Sum(), 0) / (float)a.width;
  }
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < Form::kChunks; ++i)
#pragma unroll
    for (int e = 0; e < Form::kElements; ++e) {
      const float centred = values[i][e] - mean;
      values[i][e] = centred;
      if (at.first(i) + e < a.width)
        squares += centred * centred;
    }
  const float inverse = 1.0f / sqrtf(row_reduce<Form>(squares, Sum(), 1) / (float)a.width + a.epsilon);
  float largest = 0.0f;
#pragma unroll
  for (int i = 0; i < Form::kChunks; ++i) {
    float extra[Form::kElements];
#pragma unroll
    for (int e = 0; e < Form::kElements; ++e)
      values[i][e] *= inverse;
    if (a.scale) {
      load_chunk<Form>(extra, global<const P>(a.scale), 0, at.first(i), a.width);
#pragma unroll
      for (int e = 0; e < Form::kElements; ++e)
        values[i][e] *= extra[e];
    }
    if (a.bias) {
      load_chunk<Form>(extra, global<const P>(a.bias), 0, at.first(i), a.width);
#pragma unroll
      for (int e = 0; e < Form::kElements; ++e)
        values[i][e] += extra[e];
    }
    if (a.y && inside)
      store_chunk<Form>(values[i], global<T>(a.y), first, at.first(i), a.width);
    if constexpr (!Dynamic)
      if (a.q && inside)
        store_bytes<Form>(values[i], TensorRounding(a.fixed), global<Q>(a.q), first, at.first(i), a.width);
#pragma unroll
    for (int e = 0; e < Form::kElements; ++e)
      if (Dynamic && at.first(i) + e < a.width)
        largest = Max()(largest, fabsf(values[i][e]));
  }
  if (Dynamic) {
    const float scale = row_scale_of<Q>(row_reduce<Form>(largest, Max(), 2));
    if (!inside)
      return;
    if (at.thread == 0)
      a.q_scale[at.row] = scale;
#pragma unroll
    for (int i = 0; i < Form::kChunks; ++i)
      store_quantized<Form>(values[i], scale, global<Q>(a.q), first, at.first(i), a.width);
  }
}

/// Launch ceil(rows / Form::kRows) blocks of Form::kBlock threads; width <= Form::kMaxWidth.
/// Form is of T. `Dynamic`: q and q_scale are given.
template <typename Form, bool IsLayer, bool Dynamic, typename T, typename P, typename Q>
__device__ __forceinline__ void norm_rows_typed(NormArguments<T, P, Q> a) {
  const RowPlace<Form> at;
  if (at.is_idle_block(a.rows))
    return;
  const int64_t row = at.row < a.rows ? at.row : a.rows - 1; // one that exists
  RowValues<Form> values;
#pragma unroll
  for (int i = 0; i < Form::kChunks; ++i) {
    float extra[Form::kElements];
    load_chunk<Form>(values[i], global<const T>(a.x), row * a.width, at.first(i), a.width);
    if (a.residual) {
      load_chunk<Form>(extra, global<const T>(a.residual), row * a.width, at.first(i), a.width);
#pragma unroll
      for (int e = 0; e < Form::kElements; ++e)
        values[i][e] += extra[e];
    }
    if (a.input_bias) {
      load_chunk<Form>(extra, global<const P>(a.input_bias), 0, at.first(i), a.width);
#pragma unroll
      for (int e = 0; e < Form::kElements; ++e)
        values[i][e] += extra[e];
    }
    if (a.sum && at.row < a.rows)
      store_chunk<Form>(values[i], global<T>(a.sum), row * a.width, at.first(i), a.width);
  }
  finish_norm<Form, IsLayer, Dynamic>(values, at, a);
}

/// A table of T and the ids that pick its rows; row r of the result uses ids[r % count].
/// Negative ids count from the end; others are kept inside.
template <typename T, typename Id> struct EmbeddingRows {
  const T *table;
  const Id *ids;
  int64_t vocabulary, count;
  __device__ __forceinline__ int64_t pick(int64_t r) const {
    int64_t id = (int64_t)global<const Id>(ids)[r % count];
    if (id < 0)
      id += vocabulary;
    return id < 0 ? 0 : id >= vocabulary ? vocabulary - 1 : id;
  }
};

template <typename Form, typename T, typename Id>
__device__ __forceinline__ void add_embedding(RowValues<Form> &values, const RowPlace<Form> &at, int64_t row,
                                              int64_t width, const EmbeddingRows<T, Id> &rows) {
  const int64_t first = rows.pick(row) * width;
#pragma unroll
  for (int i = 0; i < Form::kChunks; ++i) {
    float extra[Form::kElements];
    load_chunk<Form>(extra, global<const T>(rows.table), first, at.first(i), width);
#pragma unroll
    for (int e = 0; e < Form::kElements; ++e)
      values[i][e] += extra[e];
  }
}

/// The norm of the sum of one row of each table, or with `Normalises` false the sum itself
/// as y; x, residual and input_bias are not used.
template <typename Form, bool Normalises, bool IsLayer, bool Dynamic, typename T, typename P, typename Q,
          typename... Tables>
__device__ __forceinline__ void embed_rows(NormArguments<T, P, Q> a, Tables... tables) {
  const RowPlace<Form> at;
  if (at.is_idle_block(a.rows))
    return;
  const int64_t row = at.row < a.rows ? at.row : a.rows - 1;
  RowValues<Form> values = {};
  (add_embedding<Form>(values, at, row, a.width, tables), ...);
  T *sum = Normalises ? a.sum : a.y;
  if (sum && at.row < a.rows) {
#pragma unroll
    for (int i = 0; i < Form::kChunks; ++i)
      store_chunk<Form>(values[i], global<T>(sum), row * a.width, at.first(i), a.width);
  }
  if constexpr (Normalises)
    finish_norm<Form, IsLayer, Dynamic>(values, at, a);
}

/// q = round(x / scale) + zero of `count` elements; launch ceil(count / (256 * 8)) blocks of
/// 256 threads. `Aligned`: x begins at 16 bytes.
template <bool Aligned, typename T>
__device__ __forceinline__ void quantize_tensor(const T *x, int8_t *q, TensorScale scale, int64_t count) {
  using Form = RowForm<T, 32, 1, Aligned>;
  const TensorRounding round(scale);
#pragma unroll
  for (int half = 0; half < 8 / Form::kElements; ++half) {
    const int64_t first = (((int64_t)blockIdx.x * (8 / Form::kElements) + half) * 256 + threadIdx.x) * Form::kElements;
    if (first >= count)
      return;
    float values[Form::kElements];
    const int left = count - first < Form::kElements ? (int)(count - first) : Form::kElements;
    if (Aligned && left == Form::kElements) {
      load_chunk<Form>(values, global<const T>(x), first, 0, left);
      store_bytes<Form>(values, round, global<int8_t>(q), first, 0, left);
    } else {
      for (int e = 0; e < left; ++e)
        q[first + e] = (int8_t)round(to_float(global<const T>(x)[first + e]));
    }
  }
}

/// Symmetric int8 or e4m3 with one scale per row, as quantize_rows of rows.cuh.
template <typename Form, typename T, typename Q>
__device__ __forceinline__ void quantize_rows_typed(const T *x, Q *q, float *scale, int64_t rows, int64_t width) {
  const RowPlace<Form> at;
  if (at.is_idle_block(rows))
    return;
  const int64_t row = at.row < rows ? at.row : rows - 1;
  RowValues<Form> values;
  float largest = 0.0f;
#pragma unroll
  for (int i = 0; i < Form::kChunks; ++i) {
    load_chunk<Form>(values[i], global<const T>(x), row * width, at.first(i), width);
#pragma unroll
    for (int e = 0; e < Form::kElements; ++e)
      largest = Max()(largest, fabsf(values[i][e]));
  }
  const float row_scale = row_scale_of<Q>(row_reduce<Form>(largest, Max(), 0));
  if (at.row >= rows)
    return;
  if (at.thread == 0)
    scale[row] = row_scale;
#pragma unroll
  for (int i = 0; i < Form::kChunks; ++i)
    store_quantized<Form>(values[i], row_scale, global<Q>(q), row * width, at.first(i), width);
}

/// softmax or its logarithm of every row.
template <typename Form, bool Log, typename T>
__device__ __forceinline__ void softmax_rows_typed(const T *x, T *y, int64_t rows, int64_t width) {
  const RowPlace<Form> at;
  if (at.is_idle_block(rows))
    return;
  const int64_t row = at.row < rows ? at.row : rows - 1;
  RowValues<Form> values;
  float largest = -INFINITY;
#pragma unroll
  for (int i = 0; i < Form::kChunks; ++i) {
    load_chunk<Form>(values[i], global<const T>(x), row * width, at.first(i), width, -INFINITY);
#pragma unroll
    for (int e = 0; e < Form::kElements; ++e)
      largest = Max()(largest, values[i][e]);
  }
  largest = row_reduce<Form>(largest, Max(), 0);
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < Form::kChunks; ++i)
#pragma unroll
    for (int e = 0; e < Form::kElements; ++e) {
      const float shifted = values[i][e] - largest;
      const float power = at.first(i) + e < width ? expf(shifted) : 0.0f;
      sum += power;
      values[i][e] = Log ? shifted : power;
    }
  sum = row_reduce<Form>(sum, Sum(), 1);
  const float offset = Log ? logf(sum) : 0.0f;
#pragma unroll
  for (int i = 0; i < Form::kChunks; ++i) {
#pragma unroll
    for (int e = 0; e < Form::kElements; ++e)
      values[i][e] = Log ? values[i][e] - offset : values[i][e] / sum;
    if (at.row < rows)
      store_chunk<Form>(values[i], global<T>(y), row * width, at.first(i), width);
  }
}

} // namespace llmopt
