// Instances of the kernel library for shapes of BERT and GPT, which nvcc must compile
// without warnings, spills or local memory (library-kernels.test).
#include "llmopt/cuda/flash_attention.cuh"
#include "llmopt/cuda/gemv.cuh"
#include "llmopt/cuda/mma_gemm.cuh"
#include "llmopt/cuda/narrow_any_rows.cuh"
#include "llmopt/cuda/norm.cuh"
#include "llmopt/cuda/rope.cuh"
#include "llmopt/cuda/topk.cuh"

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

// ---- few rows

#define GEMV(name, M, Columns, KWarps, N, K, Weight, Out)                                                              \
  extern "C" __global__ void __launch_bounds__(kGemvThreads)                                                           \
      name(const Out *x, Weight weight, int64_t rows, GemmEpilogue<Out, Activation::none, true, true> epilogue) {      \
    gemv<M, Columns, KWarps, true>(x, weight, {rows, N, K, K, 0}, epilogue);                                           \
  }
using Int4G128 = Int4Weight<128, f16, false>;
using Int4G32F32 = Int4Weight<32, float, false>;
using Int4G32Zeros = Int4Weight<32, f16, true>;

GEMV(gemv_f16_1, 1, 4, 1, 4096, 4096, FloatWeight<f16>, f16)
GEMV(gemv_f16_1_small, 1, 2, 4, 768, 768, FloatWeight<f16>, f16)
GEMV(gemv_f16_8, 8, 2, 1, 4096, 4096, FloatWeight<f16>, f16)
GEMV(gemv_int8_1, 1, 4, 1, 4096, 4096, Int8Weight, f16)
GEMV(gemv_int8_4, 4, 2, 1, 4096, 4096, Int8Weight, f16)
GEMV(gemv_int8_f32_4, 4, 4, 1, 4096, 4096, Int8Weight, float)
GEMV(gemv_int4_f32_4, 4, 4, 1, 4096, 4096, Int4G32F32, float)
GEMV(gemv_f32_4, 4, 4, 1, 4096, 4096, FloatWeight<float>, float)
GEMV(gemv_int4_1, 1, 4, 1, 4096, 4096, Int4G128, f16)
GEMV(gemv_int4_zeros_4, 4, 2, 2, 4096, 4096, Int4G32Zeros, f16)

// ---- int4

#define GEMM_NARROW(name, Mma, BM, BN, WM, WN, Splits, N, K, Weight, Out)                                              \
  using Tile_##name = NarrowTile<Mma::Input, Weight, BM, BN, WM, WN, 4>;                                               \
  extern "C" __global__ void __launch_bounds__(Tile_##name::kThreads)                                                  \
      name(const Mma::Input *x, Weight weight, int64_t rows, GemmEpilogue<Out, Activation::none, true, true> epilogue, \
           GroupScales scales, GemmSplit split) {                                                                      \
    mma_gemm_narrow<Mma, Tile_##name, 16, Splits>(x, weight, {rows, N, K, K, 0}, epilogue, scales, split);             \
  }
using Int4G128F32Zeros = Int4Weight<128, float, true>;
GEMM_NARROW(gemm_int4_32x128_split, MmaF16, 32, 128, 32, 32, true, 4096, 4096, Int4G128, f16)
GEMM_NARROW(gemm_int4_64x64, MmaF16, 64, 64, 32, 32, false, 4096, 4096, Int4G32Zeros, f16)
GEMM_NARROW(gemm_int4_64x128, MmaF16, 64, 128, 32, 64, false, 4096, 4096, Int4G128, f16)
GEMM_NARROW(gemm_int4_128x128, MmaF16, 128, 128, 64, 32, false, 11008, 4096, Int4G32Zeros, f16)
GEMM_NARROW(gemm_int4_bf16_64x128, MmaBf16, 64, 128, 32, 64, false, 4096, 4096, Int4G32Zeros, bf16)
GEMM_NARROW(gemm_int4_f32_64x64, MmaF32, 64, 64, 32, 32, false, 4096, 4096, Int4G32F32, float)
GEMM_NARROW(gemm_int4_f32_zeros_64x64, MmaF32, 64, 64, 32, 32, false, 4096, 4096, Int4G128F32Zeros, float)
GEMM_NARROW(gemm_w4a8_64x64, MmaS8, 64, 64, 32, 32, false, 4096, 4096, Int4G32F32, f16)
GEMM_NARROW(gemm_w4a8_128x128, MmaS8, 128, 128, 64, 32, false, 4096, 4096, Int4G128F32Zeros, f16)
GEMM_NARROW(gemm_w8_f16_64x64, MmaF16, 64, 64, 32, 32, false, 4096, 4096, Int8Weight, f16)
GEMM_NARROW(gemm_w8_f16_128x128, MmaF16, 128, 128, 64, 32, false, 4096, 4096, Int8Weight, f16)
GEMM_NARROW(gemm_w8_bf16_64x64, MmaBf16, 64, 64, 32, 32, false, 4096, 4096, Int8Weight, bf16)
GEMM_NARROW(gemm_w8_f32_64x64, MmaF32, 64, 64, 32, 32, false, 4096, 4096, Int8Weight, float)

// As the compiler writes them: few rows or tiles, by the number of rows.
#define ANY_NARROW(name, Mma, BM, BN, WM, WN, Columns, KWarps, N, K, Weight, Out)                                      \
  using Tile_##name = NarrowTile<Mma::Input, Weight, BM, BN, WM, WN, 4>;                                               \
  extern "C" __global__ void __launch_bounds__(Tile_##name::kThreads)                                                  \
      name(const Mma::Input *x, Weight weight, int64_t rows, GemmEpilogue<Out, Activation::silu, true, true> epilogue, \
           GroupScales scales) {                                                                                       \
    narrow_any_rows<Mma, Tile_##name, AnyRows<Columns, KWarps>, 16>(x, weight, {rows, N, K, K, 0}, epilogue, scales);  \
  }
ANY_NARROW(any_int4_f16, MmaF16, 64, 64, 32, 32, 4, 1, 4096, 4096, Int4G128, f16)
ANY_NARROW(any_int4_bf16, MmaBf16, 64, 64, 32, 32, 4, 4, 768, 768, Int4G32Zeros, bf16)
ANY_NARROW(any_int4_f32, MmaF32, 64, 64, 32, 32, 4, 1, 4096, 4096, Int4G32F32, float)
ANY_NARROW(any_w4a8, MmaS8, 64, 64, 32, 32, 4, 1, 4096, 4096, Int4G32F32, f16)
ANY_NARROW(any_w8_f16, MmaF16, 64, 64, 32, 32, 4, 1, 4096, 4096, Int8Weight, f16)
ANY_NARROW(any_w8_f32, MmaF32, 64, 64, 32, 32, 4, 4, 768, 768, Int8Weight, float)
extern "C" __global__ void __launch_bounds__(128)
    any_s8(const int8_t *x, const int8_t *w, int64_t rows,
           GemmEpilogue<f16, Activation::gelu_erf, true, true, true, f16, float, true> epilogue) {
  s8_any_rows<GemmTile64x64, AnyRows<4, 1>, 16>(x, w, {rows, 4096, 4096, 4096, 0}, epilogue);
}

// ---- rows

using Rows768F16 = RowForm<f16, 32, 3, true>;
using Rows768F32 = RowForm<float, 32, 6, true>;
using Rows4096F16 = RowForm<f16, 256, 2, true>;
#define NORM(name, Form, T, IsLayer, Dynamic)                                                                          \
  extern "C" __global__ void __launch_bounds__(Form::kBlock) name(NormArguments<T> a) {                                \
    norm_rows_typed<Form, IsLayer, Dynamic>(a);                                                                        \
  }
NORM(layer_norm_f16_768, Rows768F16, f16, true, false)
NORM(layer_norm_f16_768_q, Rows768F16, f16, true, true)
NORM(layer_norm_f32_768, Rows768F32, float, true, false)
NORM(rms_norm_f16_4096_q, Rows4096F16, f16, false, true)

extern "C" __global__ void __launch_bounds__(256)
    quantize_tensor_f32(const float *x, int8_t *q, TensorScale scale, int64_t count) {
  quantize_tensor<true>(x, q, scale, count);
}
extern "C" __global__ void __launch_bounds__(256)
    quantize_tensor_f16(const f16 *x, int8_t *q, TensorScale scale, int64_t count) {
  quantize_tensor<true>(x, q, scale, count);
}

extern "C" __global__ void __launch_bounds__(Rows768F16::kBlock)
    embed_norm_f16_768(NormArguments<f16> a, EmbeddingRows<f16, int64_t> words, EmbeddingRows<f16, int64_t> positions,
                       EmbeddingRows<f16, int64_t> types) {
  embed_rows<Rows768F16, true, true, false>(a, words, positions, types);
}
extern "C" __global__ void __launch_bounds__(256) softmax_f16_4096(const f16 *x, f16 *y, int64_t rows, int64_t width) {
  softmax_rows_typed<Rows4096F16, false>(x, y, rows, width);
}
extern "C" __global__ void __launch_bounds__(256)
    quantize_f16_4096(const f16 *x, int8_t *q, float *scale, int64_t rows, int64_t width) {
  quantize_rows_typed<Rows4096F16>(x, q, scale, rows, width);
}
extern "C" __global__ void __launch_bounds__(kRopeThreads) rope_append_f16(RopeArguments<f16> a) {
  rope_append<false>(a);
}
extern "C" __global__ void __launch_bounds__(kTopThreads)
    top_k_f16(const f16 *x, f16 *values, int64_t *indices, int64_t width, int64_t k) {
  top_k_rows(x, values, indices, width, k);
}
