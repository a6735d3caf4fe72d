// Bringing pieces of rows into shared memory, whatever their alignment.
#pragma once

#include "llmopt/cuda/intrin.cuh"

namespace llmopt {

/// Brings 16 bytes at `from`, of which `bytes` exist, to `to`; `Align` is what `from` is
/// aligned to. Below 4 the copy goes through registers.
template <int Align, typename T>
__device__ __forceinline__ void copy_chunk(shared<unsigned char> to, global<const T> from, int bytes) {
  if constexpr (Align >= 4) {
    constexpr int kStep = Align > 16 ? 16 : Align;
#pragma unroll
    for (int i = 0; i < 16; i += kStep) {
      const int rest = bytes - i < 0 ? 0 : bytes - i > kStep ? kStep : bytes - i;
      cp_async<kStep>(smem_address(to + i), from + (rest ? i / (int)sizeof(T) : 0), rest);
    }
  } else {
    constexpr int kCount = 16 / (int)sizeof(T);
    uint32_t words[4] = {};
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i * (int)sizeof(T) >= bytes)
        continue;
      if constexpr (sizeof(T) == 2)
        words[i / 2] |= (uint32_t)load<uint16_t>(from, i) << 16 * (i % 2);
      else
        words[i / 4] |= (uint32_t)load<uint8_t>(from, i) << 8 * (i % 4);
    }
    store(to, 0, make_uint4(words[0], words[1], words[2], words[3]));
  }
}

} // namespace llmopt
