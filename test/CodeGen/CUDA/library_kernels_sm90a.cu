// Hopper's products by warpgroups (library-kernels.test), which a GPU has yet to validate; and
// e4m3, which sm_80 lacks.
#include "llmopt/cuda/narrow_any_rows.cuh"
#include "llmopt/cuda/norm.cuh"
#include "llmopt/cuda/wgmma_gemm.cuh"

using namespace llmopt;

#define GEMM(name, Elements, ...)                                                                                      \
  extern "C" __global__ void __launch_bounds__(WgmmaTile4::kThreads)                                                   \
      name(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, int64_t rows, int64_t blocks,     \
           __VA_ARGS__ epilogue) {                                                                                     \
    wgmma_gemm<Elements, WgmmaTile4>(&x, &w, {rows, 3072, 768, 768, 0}, blocks, epilogue);                             \
  }

using GeluF16 = GemmEpilogue<f16, Activation::gelu_erf, true>;
using ResidualBf16 = GemmEpilogue<bf16, Activation::none, true, true>;
using GeluS8 = GemmEpilogue<int8_t, Activation::gelu_erf, true, false, true>;
using ScaledBf16 = GemmEpilogue<bf16, Activation::none, true, true, true>;

GEMM(wgmma_f16, WgmmaF16, GeluF16)
GEMM(wgmma_bf16, WgmmaBf16, ResidualBf16)
GEMM(wgmma_s8, WgmmaS8, GeluS8)
GEMM(wgmma_e4m3, WgmmaE4m3, ScaledBf16)

// ---- e4m3

using ScaledF16 = GemmEpilogue<f16, Activation::silu, true, true, true>;
extern "C" __global__ void __launch_bounds__(256)
    gemm_e4m3_128x128(const e4m3 *x, const e4m3 *w, int64_t rows, ScaledF16 epilogue) {
  mma_gemm<MmaE4m3, GemmTile128x128, 16>(x, w, {rows, 4096, 4096, 4096, 0}, epilogue);
}
extern "C" __global__ void __launch_bounds__(128)
    any_e4m3(const e4m3 *x, const e4m3 *w, int64_t rows, ScaledF16 epilogue) {
  gemm_any_rows<MmaE4m3, GemmTile64x64, AnyRows<4, 1>, 16>(x, w, {rows, 4096, 4096, 4096, 0}, epilogue);
}
using Rows4096 = RowForm<f16, 256, 2, true>;
extern "C" __global__ void __launch_bounds__(256)
    quantize_e4m3_4096(const f16 *x, e4m3 *q, float *scale, int64_t rows, int64_t width) {
  quantize_rows_typed<Rows4096>(x, q, scale, rows, width);
}
extern "C" __global__ void __launch_bounds__(256) rms_norm_e4m3_4096(NormArguments<f16, float, e4m3> a) {
  norm_rows_typed<Rows4096, false, true>(a);
}
