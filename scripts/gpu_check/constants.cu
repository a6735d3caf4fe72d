// What a device can do at best: kernels that gpu-check measures.
#include <stdint.h>

/// Reads `count` vectors of 16 bytes; writes only if their sum is one that never comes.
extern "C" __global__ void read_all(const uint4 *x, uint32_t *never, int64_t count) {
  const int64_t step = (int64_t)gridDim.x * blockDim.x;
  uint4 sum = {0, 0, 0, 0};
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  for (; i + 3 * step < count; i += 4 * step) {
    const uint4 a = __ldcs(x + i), b = __ldcs(x + i + step), c = __ldcs(x + i + 2 * step), d = __ldcs(x + i + 3 * step);
    sum.x += a.x ^ b.x ^ c.x ^ d.x;
    sum.y += a.y ^ b.y ^ c.y ^ d.y;
    sum.z += a.z ^ b.z ^ c.z ^ d.z;
    sum.w += a.w ^ b.w ^ c.w ^ d.w;
  }
  for (; i < count; i += step) {
    const uint4 a = __ldcs(x + i);
    sum.x += a.x ^ a.y ^ a.z ^ a.w;
  }
  if ((sum.x ^ sum.y ^ sum.z ^ sum.w) == 0x9e3779b9u)
    never[0] = sum.x;
}

extern "C" __global__ void copy_all(const uint4 *x, uint4 *y, int64_t count) {
  const int64_t step = (int64_t)gridDim.x * blockDim.x;
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
    __stcs(y + i, __ldcs(x + i));
}

extern "C" __global__ void nothing() {}
