// Sequences without padding: tokens of all sequences one after the other, starts[b] the
// first of sequence b and starts[B] their number. Kernels that work on rows take that
// number as their count of rows, read on the device; attention takes `starts` itself
// (FlashKind::varlen). Launches are of the size that the padded batch has: what lies
// behind the last token leaves at once.
#pragma once

#include "llmopt/cuda/memory.cuh"

namespace llmopt {

constexpr int kPackThreads = 128;

/// starts [B + 1] from lengths [B], each kept inside [0, longest]. One block of kPackThreads
/// threads, in rounds of as many sequences.
template <typename Length>
__device__ __forceinline__ void sequence_starts(const Length *lengths, int32_t *starts, int64_t batch,
                                                int64_t longest) {
  LLMOPT_SHARED(int32_t, sums, 2 * kPackThreads);
  const global<const Length> from(lengths);
  const global<int32_t> to(starts);
  int32_t before = 0;
  if (threadIdx.x == 0)
    to[0] = 0;
  for (int64_t first = 0; first < batch; first += kPackThreads) {
    const int64_t b = first + threadIdx.x;
    int64_t length = b < batch ? (int64_t)from[b] : 0;
    length = length < 0 ? 0 : length > longest ? longest : length;
    int side = 0;
    __syncthreads(); // the sums of the round before
    sums[threadIdx.x] = (int32_t)length;
    __syncthreads();
    for (int step = 1; step < kPackThreads; step *= 2) { // inclusive sums, double buffered
      int32_t sum = sums[side * kPackThreads + threadIdx.x];
      if ((int)threadIdx.x >= step)
        sum += sums[side * kPackThreads + threadIdx.x - step];
      side ^= 1;
      sums[side * kPackThreads + threadIdx.x] = sum;
      __syncthreads();
    }
    if (b < batch)
      to[b + 1] = before + sums[side * kPackThreads + threadIdx.x];
    before += sums[side * kPackThreads + kPackThreads - 1];
  }
}

/// packed[starts[b] + s, :] = padded[b, s, :], one block per row of the padded tensor
/// [B, longest, width].
template <typename T>
__device__ __forceinline__ void pack_rows(const T *padded, const int32_t *starts, T *packed, int64_t longest,
                                          int64_t width) {
  const int64_t b = blockIdx.x / longest, s = blockIdx.x % longest;
  const global<const int32_t> begin(starts);
  if (s >= begin[b + 1] - begin[b])
    return;
  const global<const T> from(padded);
  const global<T> to(packed);
  for (int64_t i = threadIdx.x; i < width; i += kPackThreads)
    to[(begin[b] + s) * width + i] = from[blockIdx.x * width + i];
}

/// The reverse; rows of padding become zeros.
template <typename T>
__device__ __forceinline__ void unpack_rows(const T *packed, const int32_t *starts, T *padded, int64_t longest,
                                            int64_t width) {
  const int64_t b = blockIdx.x / longest, s = blockIdx.x % longest;
  const global<const int32_t> begin(starts);
  const bool inside = s < begin[b + 1] - begin[b];
  const global<const T> from(packed);
  const global<T> to(padded);
  for (int64_t i = threadIdx.x; i < width; i += kPackThreads)
    to[blockIdx.x * width + i] = inside ? from[(begin[b] + s) * width + i] : T{};
}

} // namespace llmopt
