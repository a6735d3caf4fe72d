// Instructions of Hopper (sm_90a): TMA, wgmma, registers handed between warpgroups.
#pragma once

#include "llmopt/cuda/intrin.cuh"
#include "llmopt/cuda/validated.h"

#ifdef LLMOPT_EMULATE
#include "llmopt/cuda/emulation/warpgroup.h"
#else
#include <cuda.h>
#endif

namespace llmopt {

#ifdef LLMOPT_EMULATE
using TensorMap = llmopt_emulation::TensorMap;
#else
/// By cuTensorMapEncodeTiled: two dimensions (K, rows), a box of 128 bytes x rows of the
/// tile, CU_TENSOR_MAP_SWIZZLE_128B, zeros outside; a __grid_constant__ parameter.
using TensorMap = CUtensorMap;
#endif

#if defined(LLMOPT_EMULATE) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define LLMOPT_HAS_WGMMA 1
#endif

/// Loads the box at element (column, row) to shared memory, its bytes count on `barrier`.
__device__ __forceinline__ void tma_load(uint32_t to, const TensorMap *map, uint32_t barrier, int column, int row) {
#ifdef LLMOPT_EMULATE
  llmopt_emulation::load_tile(to, map, barrier, column, row);
#elif defined(LLMOPT_HAS_WGMMA)
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
               "[%2];" ::"r"(to),
               "l"(map), "r"(barrier), "r"(column), "r"(row)
               : "memory");
#endif
}

/// The descriptor of rows of 128 bytes with the 128-byte swizzle, groups of eight 1024 apart.
__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t address) {
  return (uint64_t)(address >> 4 & 0x3fff) | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

__device__ __forceinline__ void wgmma_fence() {
#if defined(LLMOPT_HAS_WGMMA) && !defined(LLMOPT_EMULATE)
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void wgmma_commit() {
#ifdef LLMOPT_EMULATE
  llmopt_emulation::commit_products();
#elif defined(LLMOPT_HAS_WGMMA)
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}
template <int Pending> __device__ __forceinline__ void wgmma_wait() {
#ifdef LLMOPT_EMULATE
  llmopt_emulation::wait_products(Pending);
#elif defined(LLMOPT_HAS_WGMMA)
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
#endif
}

/// Makes initialised mbarriers visible to TMA.
__device__ __forceinline__ void fence_mbarrier_init() {
#if defined(LLMOPT_HAS_WGMMA) && !defined(LLMOPT_EMULATE)
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}
template <int Registers> __device__ __forceinline__ void take_registers() {
#if defined(LLMOPT_HAS_WGMMA) && !defined(LLMOPT_EMULATE)
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
#endif
}
template <int Registers> __device__ __forceinline__ void give_registers() {
#if defined(LLMOPT_HAS_WGMMA) && !defined(LLMOPT_EMULATE)
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
#endif
}

// ---- m64n128, 32 bytes of K: accumulators of lane (g, t) of warp w are rows 16 w + g and
// 16 w + g + 8, columns 8 j + 2 t and the next, as c[4 j ..] of mma.sync

#define LLMOPT_WGMMA_LIST                                                                                              \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                            \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                                   \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                                   \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}"
#define LLMOPT_WGMMA_4(r, j) "+" r(c[j][0]), "+" r(c[j][1]), "+" r(c[j][2]), "+" r(c[j][3])
#define LLMOPT_WGMMA_16(r, j)                                                                                          \
  LLMOPT_WGMMA_4(r, j), LLMOPT_WGMMA_4(r, j + 1), LLMOPT_WGMMA_4(r, j + 2), LLMOPT_WGMMA_4(r, j + 3)
#define LLMOPT_WGMMA_SUMS(r) LLMOPT_WGMMA_16(r, 0), LLMOPT_WGMMA_16(r, 4), LLMOPT_WGMMA_16(r, 8), LLMOPT_WGMMA_16(r, 12)

#ifdef LLMOPT_EMULATE
#define LLMOPT_WGMMA(type, tail, element, number, r)                                                                   \
  llmopt_emulation::queue_product<llmopt_emulation::element, number, 128>(&c[0][0], a, b, keeps)
#elif defined(LLMOPT_HAS_WGMMA)
#define LLMOPT_WGMMA(type, tail, element, number, r)                                                                   \
  asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %66, 0;\n\twgmma.mma_async.sync.aligned." type                    \
               " " LLMOPT_WGMMA_LIST ", %64, %65, p" tail ";\n\t}"                                                     \
               : LLMOPT_WGMMA_SUMS(r)                                                                                  \
               : "l"(a), "l"(b), "r"((int)keeps))
#else
#define LLMOPT_WGMMA(type, tail, element, number, r) ((void)a, (void)b, (void)keeps, (void)c)
#endif

struct WgmmaF16 {
  using Input = f16;
  using Sum = float;
  __device__ static __forceinline__ void multiply(float (&c)[16][4], uint64_t a, uint64_t b, bool keeps) {
    LLMOPT_WGMMA("m64n128k16.f32.f16.f16", ", 1, 1, 0, 0", HalfElement, float, "f");
  }
};
struct WgmmaBf16 {
  using Input = bf16;
  using Sum = float;
  __device__ static __forceinline__ void multiply(float (&c)[16][4], uint64_t a, uint64_t b, bool keeps) {
    LLMOPT_WGMMA("m64n128k16.f32.bf16.bf16", ", 1, 1, 0, 0", BfloatElement, float, "f");
  }
};
struct WgmmaE4m3 {
  using Input = e4m3;
  using Sum = float;
  __device__ static __forceinline__ void multiply(float (&c)[16][4], uint64_t a, uint64_t b, bool keeps) {
    LLMOPT_WGMMA("m64n128k32.f32.e4m3.e4m3", ", 1, 1", Float8Element, float, "f");
  }
};
struct WgmmaS8 {
  using Input = int8_t;
  using Sum = int;
  __device__ static __forceinline__ void multiply(int (&c)[16][4], uint64_t a, uint64_t b, bool keeps) {
    LLMOPT_WGMMA("m64n128k32.s32.s8.s8", "", ByteElement, int32_t, "r");
  }
};

#undef LLMOPT_WGMMA
#undef LLMOPT_WGMMA_SUMS
#undef LLMOPT_WGMMA_16
#undef LLMOPT_WGMMA_4
#undef LLMOPT_WGMMA_LIST

} // namespace llmopt
