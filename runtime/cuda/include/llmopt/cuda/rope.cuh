// Rotary position embedding (Su et al. 2021) of queries and keys, with the new keys and
// values going to their place in a cache.
//
// For pair i of a head at position p, with c = cos[p][i] and s = sin[p][i]:
//   (a, b) -> (a c - b s, b c + a s)
// where the pair is (x[2 i], x[2 i + 1]) if `Interleaved`, else (x[i], x[i + R / 2]); elements
// from R, the rotary dimension, on stay as they are.
#pragma once

#include "llmopt/cuda/memory.cuh"
#include "llmopt/cuda/types.cuh"

namespace llmopt {

constexpr int kRopeThreads = 128;

template <typename T> struct RopeArguments {
  const T *q, *k, *v;         // rows of tokens: heads of head_dim; may be columns of one tensor
  T *rotated;                 // [tokens, heads, head_dim]
  T *key_cache, *value_cache; // [B, capacity, key_heads, ..]; where null, keys go to rotated_keys
  T *rotated_keys;            // [tokens, key_heads, head_dim], or null
  const float *cosine, *sine; // [positions, rotary_dim / 2]
  const int64_t *positions;   // of every token, or null: past + its place in the sequence
  const int64_t *past;        // tokens in the cache before, one number
  int64_t table_rows;         // positions beyond are kept inside
  int64_t tokens;             // new ones of a sequence
  int64_t capacity;
  int64_t heads, key_heads, head_dim, value_head_dim, rotary_dim;
  int64_t query_row, key_row, value_row; // elements between tokens
};

template <bool Interleaved, typename T>
__device__ __forceinline__ void rotate_heads(global<const T> from, global<T> to, int64_t heads, int64_t position,
                                             const RopeArguments<T> &a) {
  const int64_t pairs = a.rotary_dim / 2, rest = a.head_dim - a.rotary_dim, work = pairs + rest;
  const global<const float> cosine(a.cosine), sine(a.sine);
  for (int64_t i = threadIdx.x; i < heads * work; i += kRopeThreads) {
    const int64_t first = i / work * a.head_dim, pair = i % work;
    if (pair >= pairs) {
      const int64_t at = first + a.rotary_dim + pair - pairs;
      to[at] = from[at];
      continue;
    }
    const int64_t low = first + (Interleaved ? 2 * pair : pair), high = Interleaved ? low + 1 : low + pairs;
    const float x = to_float(from[low]), y = to_float(from[high]);
    const float c = cosine[position * pairs + pair], s = sine[position * pairs + pair];
    to[low] = from_float<T>(x * c - y * s);
    to[high] = from_float<T>(y * c + x * s);
  }
}

/// One block of kRopeThreads threads per token; launch B * tokens.
template <bool Interleaved, typename T> __device__ __forceinline__ void rope_append(RopeArguments<T> a) {
  const int64_t token = blockIdx.x, batch = token / a.tokens, step = token % a.tokens;
  const int64_t past = a.past ? (int64_t)global<const int64_t>(a.past)[0] : 0;
  int64_t position = a.positions ? (int64_t)global<const int64_t>(a.positions)[token] : past + step;
  position = position < 0 ? 0 : position >= a.table_rows ? a.table_rows - 1 : position;
  if (a.q)
    rotate_heads<Interleaved>(global<const T>(a.q) + token * a.query_row,
                              global<T>(a.rotated) + token * a.heads * a.head_dim, a.heads, position, a);
  const int64_t slot = batch * a.capacity + past + step;
  if (a.k) {
    const int64_t width = a.key_heads * a.head_dim;
    const bool cached = a.key_cache != nullptr;
    rotate_heads<Interleaved>(global<const T>(a.k) + token * a.key_row,
                              cached ? global<T>(a.key_cache) + slot * width
                                     : global<T>(a.rotated_keys) + token * width,
                              a.key_heads, position, a);
  }
  if (a.v) {
    const int64_t width = a.key_heads * a.value_head_dim;
    const global<const T> from = global<const T>(a.v) + token * a.value_row;
    const global<T> to = global<T>(a.value_cache) + slot * width;
    for (int64_t i = threadIdx.x; i < width; i += kRopeThreads)
      to[i] = from[i];
  }
}

} // namespace llmopt
