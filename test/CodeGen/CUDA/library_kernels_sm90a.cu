// Hopper's products by warpgroups (library-kernels.test), which a GPU has yet to validate.
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
