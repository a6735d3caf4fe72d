// softmax(scale Q K^T + mask) V (Vaswani et al. 2017), token-major operands that
// may be columns of wider tensors.
//
// One block of 128 threads per (batch, head, query). Keys come in chunks of 128,
// one per thread; the softmax is rescaled from chunk to chunk (online softmax,
// Milakov and Gimelshein 2018), so no scores are stored.
#pragma once

#include "llmopt/cuda/common.cuh"

namespace llmopt {

constexpr int kAttentionThreads = 128;

enum class MaskKind { none, additive, boolean, key_lengths };
enum class FullyMasked { nan, zero, source };

struct AttentionShape {
  int64_t query_length, key_length;
  int64_t heads, heads_per_key_head;
  int64_t query_row, key_row, value_row; // elements between tokens
  int64_t key_rows, value_rows;          // tokens between sequences: more than key_length in a cache
  int64_t head_dim, value_head_dim;
  int64_t mask_batch, mask_head, mask_query, mask_key; // strides, 0 broadcasts
};

/// The score of a masked key; `visible` says whether it takes part at all.
template <MaskKind Mask>
__device__ __forceinline__ float mask_score(float score, const void *mask, int64_t index, int64_t batch, int64_t key,
                                            bool &visible) {
  if (Mask == MaskKind::additive) {
    score += ((const float *)mask)[index];
    visible = score != -INFINITY;
  }
  if (Mask == MaskKind::boolean)
    visible = ((const uint8_t *)mask)[index] != 0;
  if (Mask == MaskKind::key_lengths)
    visible = key < ((const int64_t *)mask)[batch];
  return visible ? score : -INFINITY;
}

/// cache[b, past + s, :] = input[b, s, :]; one block per new token.
template <typename T>
__device__ void kv_append(T *cache, const T *input, int64_t tokens, int64_t past, int64_t capacity, int64_t width) {
  const int64_t batch = blockIdx.x / tokens, token = blockIdx.x % tokens;
  for (int64_t i = threadIdx.x; i < width; i += kAttentionThreads)
    cache[(batch * capacity + past + token) * width + i] = input[blockIdx.x * width + i];
}

template <MaskKind Mask, bool Causal, FullyMasked Masked, int MaxValueDim>
__device__ void attention(const float *q, const float *k, const float *v, const void *mask, float *y,
                          AttentionShape shape, float scale) {
  __shared__ float weights[kAttentionThreads];
  const int64_t query = blockIdx.x % shape.query_length;
  const int64_t head = blockIdx.x / shape.query_length % shape.heads;
  const int64_t batch = blockIdx.x / shape.query_length / shape.heads;
  const int64_t key_head = head / shape.heads_per_key_head;
  q += (batch * shape.query_length + query) * shape.query_row + head * shape.head_dim;
  k += batch * shape.key_rows * shape.key_row + key_head * shape.head_dim;
  v += batch * shape.value_rows * shape.value_row + key_head * shape.value_head_dim;
  const int64_t mask_base = batch * shape.mask_batch + head * shape.mask_head + query * shape.mask_query;
  const int64_t last_key = Causal ? query + shape.key_length - shape.query_length : shape.key_length - 1;

  float largest = -INFINITY, total = 0.0f;
  float sum[(MaxValueDim + kAttentionThreads - 1) / kAttentionThreads] = {};
  for (int64_t first = 0; first < shape.key_length; first += kAttentionThreads) {
    const int64_t key = first + threadIdx.x;
    float score = -INFINITY;
    if (key < shape.key_length) {
      float product = 0.0f;
      for (int64_t d = 0; d < shape.head_dim; ++d)
        product = fmaf(q[d], k[key * shape.key_row + d], product);
      bool visible = true;
      score = mask_score<Mask>(product * scale, mask, mask_base + key * shape.mask_key, batch, key, visible);
      if (key > last_key)
        score = -INFINITY;
    }
    const float chunk_largest = block_reduce<kAttentionThreads>(score, Max());
    const float next = Max()(largest, chunk_largest);
    // While everything so far is masked, there is nothing to rescale.
    const float rescale = next == -INFINITY ? 1.0f : expf(largest - next);
    const float weight = next == -INFINITY ? 0.0f : expf(score - next);
    total = total * rescale + block_reduce<kAttentionThreads>(weight, Sum());
    weights[threadIdx.x] = weight;
    __syncthreads();
    const int64_t count = shape.key_length - first < kAttentionThreads ? shape.key_length - first : kAttentionThreads;
    for (int64_t i = 0, d = threadIdx.x; d < shape.value_head_dim; ++i, d += kAttentionThreads) {
      float part = sum[i] * rescale;
      for (int64_t j = 0; j < count; ++j)
        if (weights[j] != 0.0f)
          part = fmaf(weights[j], v[(first + j) * shape.value_row + d], part);
      sum[i] = part;
    }
    __syncthreads();
    largest = next;
  }
  const bool masked = largest == -INFINITY;
  y += ((batch * shape.query_length + query) * shape.heads + head) * shape.value_head_dim;
  for (int64_t i = 0, d = threadIdx.x; d < shape.value_head_dim; ++i, d += kAttentionThreads)
    y[d] = masked ? (Masked == FullyMasked::zero ? 0.0f : NAN) : sum[i] / total;
}

} // namespace llmopt
