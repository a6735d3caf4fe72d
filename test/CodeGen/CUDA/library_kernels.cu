// Instances of the kernel library for shapes of BERT and GPT, which nvcc must compile
// without warnings, spills or local memory (library-kernels.test).
#include "llmopt/cuda/flash_attention.cuh"
#include "llmopt/cuda/mma_gemm.cuh"

using namespace llmopt;

#define GEMM(name, Mma, Tile, Splits, N, K, ...)                                                                       \
  extern "C" __global__ void __launch_bounds__(Tile::kThreads)                                                         \
      name(const Mma::Input *x, const Mma::Input *w, int64_t rows, __VA_ARGS__ epilogue, GemmSplit split) {            \
    mma_gemm<Mma, Tile, 16, Splits>(x, w, {rows, N, K, K, 0}, epilogue, split);                                        \
  }

using GeluF16 = GemmEpilogue<f16, Activation::gelu_erf, true>;
using ResidualF16 = GemmEpilogue<f16, Activation::none, true, true>;
using GeluS8 = GemmEpilogue<int8_t, Activation::gelu_erf, true, false, true>;
using ScaledF16 = GemmEpilogue<f16, Activation::none, true, true, true>;
using ResidualF32 = GemmEpilogue<float, Activation::none, true, true>;
using ResidualBf16 = GemmEpilogue<bf16, Activation::none, true, true>;

GEMM(gemm_f16_128x128, MmaF16, GemmTile128x128, false, 3072, 768, GeluF16)
GEMM(gemm_f16_128x128_deep, MmaF16, GemmTile128x128Deep, false, 3072, 768, GeluF16)
GEMM(gemm_f16_128x64, MmaF16, GemmTile128x64, false, 768, 3072, ResidualF16)
GEMM(gemm_f16_64x64, MmaF16, GemmTile64x64, false, 768, 768, ResidualF16)
GEMM(gemm_f16_64x32_split, MmaF16, GemmTile64x32, true, 768, 3072, ResidualF16)
GEMM(gemm_bf16_128x128, MmaBf16, GemmTile128x128, false, 768, 3072, ResidualBf16)
GEMM(gemm_s8_128x128, MmaS8, GemmTile128x128, false, 3072, 768, GeluS8)
GEMM(gemm_s8_64x64, MmaS8, GemmTile64x64, false, 768, 3072, ScaledF16)
GEMM(gemm_tf32_128x64, MmaTf32, GemmTile128x64, false, 768, 768, ResidualF32)
GEMM(gemm_f32_64x64, MmaF32, GemmTile64x64, false, 768, 768, ResidualF32)

// ---- attention

#define ATTENTION(name, Mma, D, Rows, Mask, Causal, Kind)                                                              \
  extern "C" __global__ void __launch_bounds__(2 * Rows)                                                               \
      name(const Mma::Input *q, const Mma::Input *k, const Mma::Input *v, Mma::Input *y, FlashArguments a) {           \
    flash_attention<FlashForm<Mma, D, D, Rows, MaskKind::Mask, Causal, FullyMasked::nan, FlashKind::Kind>>(q, k, v, y, \
                                                                                                           a);         \
  }

ATTENTION(attention_f16_64_lengths, MmaF16, 64, 64, key_lengths, false, batched)
ATTENTION(attention_f16_64_additive, MmaF16, 64, 64, additive, false, batched)
ATTENTION(attention_f16_64_varlen, MmaF16, 64, 64, none, false, varlen)
ATTENTION(attention_f16_64_causal, MmaF16, 64, 128, none, true, batched)
ATTENTION(attention_f16_128_causal, MmaF16, 128, 64, none, true, batched)
ATTENTION(attention_bf16_128_decode, MmaBf16, 128, 16, key_lengths, false, decode)
ATTENTION(attention_f16_64_decode, MmaF16, 64, 16, key_lengths, false, decode)
ATTENTION(attention_f32_64_lengths, MmaF32, 64, 64, key_lengths, false, batched)
ATTENTION(attention_tf32_32, MmaTf32, 32, 64, none, false, batched)
