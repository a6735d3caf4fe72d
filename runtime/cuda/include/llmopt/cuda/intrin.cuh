// Instructions that C++ has no words for: inline PTX on a device, the same per lane
// under emulation (emulation/tensor.h says which lane holds what).
#pragma once

#include "llmopt/cuda/memory.cuh"
#include "llmopt/cuda/types.cuh"

namespace llmopt {

// ---- cp.async: global to shared memory without registers; through registers on sm_75

/// Copies `bytes` bytes, and zeros up to `Bytes` (4, 8, 16), to `to`.
template <int Bytes, typename T> __device__ __forceinline__ void cp_async(uint32_t to, global<T> from, int bytes) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16, "what cp.async copies");
#ifdef LLMOPT_EMULATE
  llmopt_emulation::copy_async(to, from.get(), Bytes, (uint32_t)bytes, from.bounds());
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  uint32_t words[Bytes / 4] = {};
  const unsigned char *source = reinterpret_cast<const unsigned char *>(from);
  if (bytes == Bytes) {
#pragma unroll
    for (int i = 0; i < Bytes / 4; ++i)
      words[i] = reinterpret_cast<const uint32_t *>(source)[i];
  } else {
#pragma unroll
    for (int i = 0; i < Bytes; ++i)
      if (i < bytes)
        words[i / 4] |= (uint32_t)source[i] << 8 * (i % 4);
  }
#pragma unroll
  for (int i = 0; i < Bytes / 4; ++i)
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(to + 4 * i), "r"(words[i]) : "memory");
#else
  if constexpr (Bytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(to), "l"(from), "r"(bytes), "n"(Bytes)
                 : "memory");
#endif
}

__device__ __forceinline__ void cp_async_commit() {
#ifdef LLMOPT_EMULATE
  llmopt_emulation::commit_copies();
#elif !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/// Waits until at most the newest `Pending` groups of this thread are under way.
template <int Pending> __device__ __forceinline__ void cp_async_wait() {
#ifdef LLMOPT_EMULATE
  llmopt_emulation::wait_copies(Pending);
#elif !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
#endif
}

// ---- ldmatrix: 8 x 8 matrices of 16-bit elements into fragments (sm_75)

template <int Count, bool Transposed = false>
__device__ __forceinline__ void ldmatrix(uint32_t (&words)[Count], uint32_t address) {
  static_assert(Count == 1 || Count == 2 || Count == 4, "what ldmatrix loads");
#ifdef LLMOPT_EMULATE
  llmopt_emulation::load_matrices<Count, Transposed>(Transposed ? "ldmatrix.trans" : "ldmatrix", words, address);
#else
  if constexpr (Count == 1 && !Transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(words[0]) : "r"(address) : "memory");
  if constexpr (Count == 1 && Transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(words[0])
                 : "r"(address)
                 : "memory");
  if constexpr (Count == 2 && !Transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(words[0]), "=r"(words[1])
                 : "r"(address)
                 : "memory");
  if constexpr (Count == 2 && Transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(words[0]), "=r"(words[1])
                 : "r"(address)
                 : "memory");
  if constexpr (Count == 4 && !Transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
  if constexpr (Count == 4 && Transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
#endif
}

// ---- mma.sync: c += a b, A row major, B column major

#ifdef LLMOPT_EMULATE
#define LLMOPT_MMA(suffix, word, rows, words, ...)                                                                     \
  llmopt_emulation::multiply<llmopt_emulation::word, rows, words>("mma." suffix, c, a, b)
#elif defined(__CUDA_ARCH__)
#define LLMOPT_MMA(suffix, word, rows, words, ...) asm volatile("mma.sync.aligned." suffix " " __VA_ARGS__)
#else
#define LLMOPT_MMA(suffix, word, rows, words, ...) ((void)a, (void)b, (void)c) // host pass of nvcc
#endif
#define LLMOPT_MMA_OPERANDS(constraint)                                                                                \
  : "+" constraint(c[0]), "+" constraint(c[1]), "+" constraint(c[2]), "+" constraint(c[3])

__device__ __forceinline__ void mma_m16n8k16_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  LLMOPT_MMA("m16n8k16.row.col.f32.bf16.bf16.f32", BfloatWord, 16, 2,
             "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" LLMOPT_MMA_OPERANDS("f") : "r"(a[0]),
             "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  LLMOPT_MMA("m16n8k8.row.col.f32.tf32.tf32.f32", Tf32Word, 16, 2,
             "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" LLMOPT_MMA_OPERANDS("f") : "r"(a[0]),
             "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_m16n8k16_s8(int (&c)[4], const uint32_t (&a)[2], const uint32_t (&b)[1]) {
  LLMOPT_MMA("m16n8k16.row.col.s32.s8.s8.s32", ByteWord, 16, 1,
             "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};" LLMOPT_MMA_OPERANDS("r") : "r"(a[0]), "r"(a[1]),
             "r"(b[0]));
}
/// sm_75
__device__ __forceinline__ void mma_m16n8k8_f16(float (&c)[4], const uint32_t (&a)[2], const uint32_t (&b)[1]) {
  LLMOPT_MMA("m16n8k8.row.col.f32.f16.f16.f32", HalfWord, 16, 1,
             "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};" LLMOPT_MMA_OPERANDS("f") : "r"(a[0]), "r"(a[1]),
             "r"(b[0]));
}
/// sm_75; c has two elements.
__device__ __forceinline__ void mma_m8n8k16_s8(int (&c)[2], const uint32_t (&a)[1], const uint32_t (&b)[1]) {
  LLMOPT_MMA("m8n8k16.row.col.s32.s8.s8.s32", ByteWord, 8, 1, "{%0, %1}, {%2}, {%3}, {%0, %1};" : "+r"(c[0]),
             "+r"(c[1]) : "r"(a[0]), "r"(b[0]));
}

/// m16n8k16 from the instructions of sm_75.
__device__ __forceinline__ void mma_m16n8k16_f16_sm75(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  mma_m16n8k8_f16(c, {a[0], a[1]}, {b[0]});
  mma_m16n8k8_f16(c, {a[2], a[3]}, {b[1]});
}
/// m16n8k32 from the instructions of sm_75.
__device__ __forceinline__ void mma_m16n8k32_s8_sm75(int (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  int top[2] = {c[0], c[1]}, bottom[2] = {c[2], c[3]};
  mma_m8n8k16_s8(top, {a[0]}, {b[0]});
  mma_m8n8k16_s8(top, {a[2]}, {b[1]});
  mma_m8n8k16_s8(bottom, {a[1]}, {b[0]});
  mma_m8n8k16_s8(bottom, {a[3]}, {b[1]});
  c[0] = top[0], c[1] = top[1], c[2] = bottom[0], c[3] = bottom[1];
}
__device__ __forceinline__ void mma_m16n8k16_f16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  mma_m16n8k16_f16_sm75(c, a, b);
#else
  LLMOPT_MMA("m16n8k16.row.col.f32.f16.f16.f32", HalfWord, 16, 2,
             "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" LLMOPT_MMA_OPERANDS("f") : "r"(a[0]),
             "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
__device__ __forceinline__ void mma_m16n8k32_s8(int (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  mma_m16n8k32_s8_sm75(c, a, b);
#else
  LLMOPT_MMA("m16n8k32.row.col.s32.s8.s8.s32", ByteWord, 16, 2,
             "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" LLMOPT_MMA_OPERANDS("r") : "r"(a[0]),
             "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/// sm_89; on older ones the compiler refuses e4m3.
__device__ __forceinline__ void mma_m16n8k32_e4m3(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 890
  (void)a, (void)b, (void)c;
#else
  LLMOPT_MMA("m16n8k32.row.col.f32.e4m3.e4m3.f32", Float8Word, 16, 2,
             "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" LLMOPT_MMA_OPERANDS("f") : "r"(a[0]),
             "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

#undef LLMOPT_MMA_OPERANDS
#undef LLMOPT_MMA

/// Rounds to tf32, ties away from zero.
__device__ __forceinline__ uint32_t to_tf32(float x) {
#ifdef LLMOPT_EMULATE
  return __float_as_uint(llmopt_emulation::float_to_tf32(x));
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
#else
  return __float_as_uint(x);
#endif
}

// ---- pairs of halves

/// a b + c of each half, rounded once.
__device__ __forceinline__ uint32_t half2_fma(uint32_t a, uint32_t b, uint32_t c) {
#ifdef LLMOPT_EMULATE
  const float2 x = Storage<f16>::unpack(a), y = Storage<f16>::unpack(b), z = Storage<f16>::unpack(c);
  return Storage<f16>::pack(fmaf(x.x, y.x, z.x), fmaf(x.y, y.y, z.y));
#else
  uint32_t d;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
#endif
}
__device__ __forceinline__ uint32_t half2_mul(uint32_t a, uint32_t b) {
#ifdef LLMOPT_EMULATE
  const float2 x = Storage<f16>::unpack(a), y = Storage<f16>::unpack(b);
  return Storage<f16>::pack(x.x * y.x, x.y * y.y);
#else
  uint32_t d;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
#endif
}

// ---- reductions over a warp: every lane gets the result

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int bits = 16; bits > 0; bits /= 2)
    x += __shfl_xor_sync(0xffffffffu, x, bits);
  return x;
}
__device__ __forceinline__ int warp_sum(int x) {
#pragma unroll
  for (int bits = 16; bits > 0; bits /= 2)
    x += __shfl_xor_sync(0xffffffffu, x, bits);
  return x;
}
/// NaN if any is.
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int bits = 16; bits > 0; bits /= 2)
    x = Max()(x, __shfl_xor_sync(0xffffffffu, x, bits));
  return x;
}

// ---- mbarrier (sm_80; transactions sm_90)

__device__ __forceinline__ void mbarrier_init(uint32_t address, int count) {
#ifdef LLMOPT_EMULATE
  llmopt_emulation::mbarrier_init(address, (uint32_t)count);
#else
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(address), "r"(count) : "memory");
#endif
}
__device__ __forceinline__ void mbarrier_arrive(uint32_t address) {
#ifdef LLMOPT_EMULATE
  llmopt_emulation::mbarrier_arrive(address);
#else
  asm volatile("{\n\t.reg .b64 state;\n\tmbarrier.arrive.shared.b64 state, [%0];\n\t}" ::"r"(address) : "memory");
#endif
}
/// Arrives and expects `bytes` of bulk copies in this phase (sm_90).
__device__ __forceinline__ void mbarrier_arrive_expect(uint32_t address, uint32_t bytes) {
#ifdef LLMOPT_EMULATE
  llmopt_emulation::mbarrier_arrive(address, bytes);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("{\n\t.reg .b64 state;\n\tmbarrier.arrive.expect_tx.shared.b64 state, [%0], %1;\n\t}" ::"r"(address),
               "r"(bytes)
               : "memory");
#endif
}
/// Waits until the phase of parity `parity` is over.
__device__ __forceinline__ void mbarrier_wait(uint32_t address, uint32_t parity) {
#ifdef LLMOPT_EMULATE
  llmopt_emulation::mbarrier_wait(address, parity);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("{\n\t.reg .pred done;\n\tagain:\n\tmbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n\t"
               "@done bra finished;\n\tbra again;\n\tfinished:\n\t}" ::"r"(address),
               "r"(parity)
               : "memory");
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("{\n\t.reg .pred done;\n\tagain:\n\tmbarrier.test_wait.parity.shared.b64 done, [%0], %1;\n\t"
               "@done bra finished;\n\tbra again;\n\tfinished:\n\t}" ::"r"(address),
               "r"(parity)
               : "memory");
#endif
}

} // namespace llmopt
