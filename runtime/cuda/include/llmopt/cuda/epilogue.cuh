// What happens to a sum before it is stored:
//
//   v = alpha sum                                 float operands
//   v = sum (row_scale[row] column_scale[column]) integer operands; with a zero point of x
//                                                 sum is sum - zero column_sums[column], exact
//   y = round(activation(v + bias[column]) + residual[row, column])
//
// for one run of columns, or one column, at a time. int8 results are quantized by a static scale;
// int32 results are the exact sums, nothing applied.
#pragma once

#include "llmopt/cuda/memory.cuh"
#include "llmopt/cuda/types.cuh"

namespace llmopt {

/// Rows of x, and what W is: [K, N].
struct GemmShape {
  int64_t rows; // M
  int64_t n, k;
  int64_t row_stride; // elements between rows of x
  int64_t row_offset; // first element of x
};

/// Columns that one thread stores at a time: 16 bytes of f32 or of 16-bit floats.
template <typename T> inline constexpr int kRun = sizeof(T) == 4 ? 4 : 8;
/// Results that are the sums themselves.
template <typename T> inline constexpr bool kIsSum = false;
template <> inline constexpr bool kIsSum<int32_t> = true;

template <typename T, int Count>
__device__ __forceinline__ void load_run(global<const T> p, int64_t at, float (&to)[Count]) {
  if constexpr (sizeof(T) * Count == 32) { // eight f32
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float4 v = load<float4>(p, at + 4 * half);
      to[4 * half] = v.x, to[4 * half + 1] = v.y, to[4 * half + 2] = v.z, to[4 * half + 3] = v.w;
    }
  } else if constexpr (sizeof(T) * Count == 16) {
    Chunk<T> chunk;
    chunk.unpack(load<uint4>(p, at));
#pragma unroll
    for (int i = 0; i < Count; ++i)
      to[i] = chunk.values[i];
  } else { // four 16-bit floats
    static_assert(sizeof(T) * Count == 8, "a run");
    const uint2 bits = load<uint2>(p, at);
    const float2 low = Storage<T>::unpack(bits.x), high = Storage<T>::unpack(bits.y);
    to[0] = low.x, to[1] = low.y, to[2] = high.x, to[3] = high.y;
  }
}

/// `Residual` is the type of the residual, `Vector` that of the bias; a null pointer of
/// `bias`, `residual`, `column_scale` or `zero` is never read where its flag is not set.
template <typename Out, Activation A = Activation::none, bool HasBias = false, bool HasResidual = false,
          bool HasScales = false, typename Residual = Out, typename Vector = float, bool HasZero = false>
struct GemmEpilogue {
  using Output = Out;
  Out *y;
  const Vector *bias;
  const Residual *residual;
  const float *row_scale;    // of x, per row, or one for all
  const float *column_scale; // of W, per column
  int64_t row_scale_stride;  // 1, or 0 for one scale
  float alpha;
  float inverse_output_scale;           // of int8 results
  const int8_t *zero = nullptr;         // of x
  const int32_t *column_sums = nullptr; // of W

  /// Stores the run of sums of [row, column...); `count` of them lie inside. `aligned`:
  /// rows of y begin at multiples of a run.
  template <typename Sum, int Count>
  __device__ __forceinline__ void operator()(const Sum (&sums)[Count], int64_t row, int64_t column, int64_t n,
                                             int count, bool aligned) const {
    global<Out> out(y);
    const int64_t at = row * n + column;
    if constexpr (kIsSum<Out>) {
#pragma unroll
      for (int i = 0; i < Count; ++i)
        if (i < count)
          out[at + i] = sums[i];
      return;
    } else {
      const bool whole = aligned && count == Count;
      float v[Count], extra[Count];
#pragma unroll
      for (int i = 0; i < Count; ++i) {
        if constexpr (HasZero)
          v[i] = (float)(sums[i] - (i < count ? (int)*global<const int8_t>(zero) *
                                                    (int)global<const int32_t>(column_sums)[column + i]
                                              : 0));
        else
          v[i] = HasScales ? (float)sums[i] : alpha * (float)sums[i];
      }
      if constexpr (HasScales) {
        const float scale = global<const float>(row_scale)[row * row_scale_stride];
        gather(global<const float>(column_scale), column, count, whole, extra);
#pragma unroll
        for (int i = 0; i < Count; ++i)
          v[i] *= scale * extra[i];
      }
      if constexpr (HasBias) {
        gather(global<const Vector>(bias), column, count, whole, extra);
#pragma unroll
        for (int i = 0; i < Count; ++i)
          v[i] += extra[i];
      }
#pragma unroll
      for (int i = 0; i < Count; ++i)
        v[i] = activate<A>(v[i]);
      if constexpr (HasResidual) {
        gather(global<const Residual>(residual), at, count, whole, extra);
#pragma unroll
        for (int i = 0; i < Count; ++i)
          v[i] += extra[i];
      }
      put(out, at, count, whole, v);
    }
  }

private:
  template <typename T, int Count>
  static __device__ __forceinline__ void gather(global<const T> p, int64_t at, int count, bool whole,
                                                float (&to)[Count]) {
    if constexpr (Count == kRun<Out>) {
      if (whole) {
        load_run(p, at, to);
        return;
      }
    }
#pragma unroll
    for (int i = 0; i < Count; ++i)
      to[i] = i < count ? to_float(p[at + i]) : 0.0f;
  }

  template <int Count>
  __device__ __forceinline__ void put(global<Out> out, int64_t at, int count, bool whole,
                                      const float (&v)[Count]) const {
    if constexpr (sizeof(Out) == 1) {
      int q[Count];
#pragma unroll
      for (int i = 0; i < Count; ++i)
        q[i] = quantize(v[i], inverse_output_scale);
      if constexpr (Count == kRun<Out>) {
        if (whole) {
          store(out, at, make_uint2(pack_bytes(q[0], q[1], q[2], q[3]), pack_bytes(q[4], q[5], q[6], q[7])));
          return;
        }
      }
#pragma unroll
      for (int i = 0; i < Count; ++i)
        if (i < count)
          out[at + i] = (int8_t)q[i];
    } else {
      if constexpr (Count == kRun<Out>) {
        if (whole) {
          Chunk<Out> chunk;
#pragma unroll
          for (int i = 0; i < Count; ++i)
            chunk.values[i] = v[i];
          store(out, at, chunk.pack());
          return;
        }
      }
#pragma unroll
      for (int i = 0; i < Count; ++i)
        if (i < count)
          out[at + i] = from_float<Out>(v[i]);
    }
  }
};

} // namespace llmopt
