// What of the kernel library runs on sm_75: f16 and int8 on the smaller instructions, copies
// through registers (library-kernels.test).
#include "llmopt/cuda/flash_attention.cuh"
#include "llmopt/cuda/gemv.cuh"
#include "llmopt/cuda/mma_gemm.cuh"
#include "llmopt/cuda/norm.cuh"

using namespace llmopt;

using ResidualF16 = GemmEpilogue<f16, Activation::none, true, true>;
using GeluS8 = GemmEpilogue<int8_t, Activation::gelu_erf, true, false, true>;
using Tile = GemmTile<64, 64, 64, 32, 32, 2>;
using Attention =
    FlashForm<MmaF16, 64, 64, 64, MaskKind::key_lengths, false, FullyMasked::nan, FlashKind::batched, 16, 32>;
using Rows = RowForm<f16, 32, 3, true>;

extern "C" __global__ void __launch_bounds__(Tile::kThreads)
    gemm_f16_64x64(const f16 *x, const f16 *w, int64_t rows, ResidualF16 epilogue) {
  mma_gemm<MmaF16, Tile, 16>(x, w, {rows, 768, 768, 768, 0}, epilogue);
}
extern "C" __global__ void __launch_bounds__(Tile::kThreads)
    gemm_s8_64x64(const int8_t *x, const int8_t *w, int64_t rows, GeluS8 epilogue) {
  mma_gemm<MmaS8, Tile, 16>(x, w, {rows, 3072, 768, 768, 0}, epilogue);
}
extern "C" __global__ void __launch_bounds__(Attention::kThreads)
    attention_f16_64(const f16 *q, const f16 *k, const f16 *v, f16 *y, FlashArguments a) {
  flash_attention<Attention>(q, k, v, y, a);
}
extern "C" __global__ void __launch_bounds__(kGemvThreads)
    gemv_f16(const f16 *x, FloatWeight<f16> weight, int64_t rows, ResidualF16 epilogue) {
  gemv<1, 4, 1, true>(x, weight, {rows, 768, 768, 768, 0}, epilogue);
}
extern "C" __global__ void __launch_bounds__(Rows::kBlock) layer_norm_f16(NormArguments<f16> a) {
  norm_rows_typed<Rows, true, true>(a);
}
