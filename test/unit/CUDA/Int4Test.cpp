// Tensor-core products with int4 weights against sums in double.
#include "RunKernel.h"

#include "llmopt/cuda/mma_gemm_int4.cuh"

using namespace llmopt;
using namespace llmopt::testing;

namespace {

template <typename Mma, typename Tile, int XAlign, bool Splits, typename Weight, typename Epilogue>
void int4_kernel(const typename Mma::Input *x, Weight weight, GemmShape shape, Epilogue epilogue, GemmSplit split) {
  mma_gemm_int4<Mma, Tile, XAlign, Splits>(x, weight, shape, epilogue, split);
}

class Int4Gemm : public KernelTest {
protected:
  template <typename Mma, typename Tile, int XAlign, int Group, typename Scale, bool HasZeros, bool Splits = false>
  void check(int64_t m, int64_t n, int64_t k, int splits = 1) {
    using T = typename Mma::Input;
    int64_t groups = (k + Group - 1) / Group, zeroBytes = (groups + 1) / 2;
    Buffer<T> x(numbers<T>(m * k)), y(m * n), residual(numbers<T>(m * n));
    Buffer<uint8_t> w(n * groups * Group / 2), zeros(n * zeroBytes);
    Buffer<Scale> scales(numbers<Scale>(n * groups, 0.01f, 0.1f));
    Buffer<float> bias(numbers<float>(n));
    for (uint8_t &b : w)
      b = uint8_t(integer(0, 255));
    for (uint8_t &b : zeros)
      b = uint8_t(integer(0, 255));
    using Weight = Int4Weight<Group, Scale, HasZeros>;
    using Epilogue = GemmEpilogue<T, Activation::relu, true, true>;
    int64_t tiles = (m + Tile::kM - 1) / Tile::kM * ((n + Tile::kN - 1) / Tile::kN);
    Buffer<uint32_t> partials(Splits ? tiles * splits * Tile::kM * Tile::kN : 4), counters(tiles);
    ASSERT_EQ(
        (run(int4_kernel<Mma, Tile, XAlign, Splits, Weight, Epilogue>, {unsigned(tiles * splits)}, Tile::kThreads,
             Tile::kSharedBytes, x.data(), Weight{w.data(), scales.data(), zeros.data()}, GemmShape{m, n, k, k, 0},
             Epilogue{y.data(), bias.data(), residual.data(), nullptr, nullptr, 0, 1, 0},
             GemmSplit{splits, partials.data(), counters.data()})),
        "")
        << m << "x" << n << "x" << k;
    std::vector<double> expected(m * n);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = bias[j];
        for (int64_t l = 0; l < k; ++l) {
          int q = w[(j * groups * Group + l) / 2] >> l % 2 * 4 & 15, g = int(l / Group);
          int zero = HasZeros ? zeros[j * zeroBytes + g / 2] >> g % 2 * 4 & 15 : 8;
          sum += toDouble(x[i * k + l]) * (q - zero) * toDouble(scales[j * groups + g]);
        }
        expected[i * n + j] = std::max(sum, 0.0) + toDouble(residual[i * n + j]);
      }
    EXPECT_LE(relativeError(y, expected), tolerance<T>()) << m << "x" << n << "x" << k;
  }
};

TEST_F(Int4Gemm, GroupsZerosTails) {
  check<MmaF16, GemmInt4Tile32x128, 16, 32, float, false>(17, 136, 128);
  check<MmaF16, GemmInt4Tile64x128, 16, 128, f16, true>(70, 40, 384);
  check<MmaF16, GemmInt4Tile128x128, 16, 64, f16, false>(129, 130, 64);
  check<MmaF16, GemmInt4Tile32x128, 4, 64, f16, true>(5, 33, 90);
  check<MmaBf16, GemmInt4Tile32x128, 16, 32, float, true>(20, 24, 96);
}

TEST_F(Int4Gemm, Splits) {
  check<MmaF16, GemmInt4Tile32x128, 16, 32, float, true, true>(3, 40, 512, 3);
  setenv("LLMOPT_EMULATION_SEED", "5", 1);
  check<MmaF16, GemmInt4Tile32x128, 16, 32, float, true, true>(3, 40, 512, 3);
}

TEST_F(Int4Gemm, PairsAreExact) {
  for (int zero = 0; zero < 16; ++zero)
    for (uint32_t byte = 0; byte < 256; ++byte)
      for (int i = 0; i < 4; ++i) {
        float2 pair = Storage<f16>::unpack(Int4Pair<f16>(0.5f, float(zero))(byte << 8 * i, i));
        ASSERT_EQ(pair.x, 0.5f * (int(byte & 15) - zero));
        ASSERT_EQ(pair.y, 0.5f * (int(byte >> 4) - zero));
      }
}

} // namespace
