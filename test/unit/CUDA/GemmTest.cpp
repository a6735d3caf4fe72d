// Tensor-core products against sums in double: types, tiles, tails, epilogues, splits of K.
#include "RunKernel.h"

#include "llmopt/cuda/mma_gemm.cuh"

using namespace llmopt;
using namespace llmopt::testing;

namespace {

class Gemm : public KernelTest {};

template <typename Mma, typename Tile, int XAlign, bool Splits, typename Epilogue>
void gemm_kernel(const typename Mma::Input *x, const typename Mma::Input *w, GemmShape shape, Epilogue epilogue,
                 GemmSplit split) {
  mma_gemm<Mma, Tile, XAlign, Splits>(x, w, shape, epilogue, split);
}

double activation(Activation a, double x) {
  switch (a) {
  case Activation::relu:
    return x > 0 ? x : 0;
  case Activation::gelu_erf:
    return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  case Activation::silu:
    return x / (1 + std::exp(-x));
  default:
    return x;
  }
}

struct Problem {
  int64_t m, n, k;
  int64_t stride = 0, offset = 0; // of x; 0: dense
  int splits = 1;
};

/// Operands of a product, and what comes out in double.
template <typename Mma> struct Operands {
  using T = typename Mma::Input;
  Buffer<T> x, w;
  std::vector<double> product;
  GemmShape shape;

  Operands(const Problem &p, std::vector<T> xs, const std::vector<T> &columns) : x(std::move(xs)), w(pack(p, columns)) {
    int64_t stride = p.stride ? p.stride : p.k;
    shape = {p.m, p.n, p.k, stride, p.offset};
    product.resize(p.m * p.n);
    for (int64_t i = 0; i < p.m; ++i)
      for (int64_t j = 0; j < p.n; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < p.k; ++l)
          sum += toDouble(x[p.offset + i * stride + l]) * toDouble(columns[j * p.k + l]);
        product[i * p.n + j] = sum;
      }
  }
  static std::vector<T> pack(const Problem &p, const std::vector<T> &columns) {
    int64_t pad = 16 / sizeof(T), width = (p.k + pad - 1) / pad * pad;
    std::vector<T> packed(p.n * width, T{});
    for (int64_t j = 0; j < p.n; ++j)
      std::copy_n(columns.begin() + j * p.k, p.k, packed.begin() + j * width);
    return packed;
  }
};

template <typename Tile> int64_t tilesOf(const Problem &p) {
  return (p.m + Tile::kM - 1) / Tile::kM * ((p.n + Tile::kN - 1) / Tile::kN);
}

/// Runs one product; "" or what went wrong.
template <typename Mma, typename Tile, int XAlign, bool Splits, typename Epilogue>
std::string launch(Operands<Mma> &o, const Problem &p, Epilogue epilogue) {
  int64_t tiles = tilesOf<Tile>(p);
  Buffer<uint32_t> partials(Splits ? tiles * p.splits * Tile::kM * Tile::kN : 4), counters(tiles);
  std::string error = run(gemm_kernel<Mma, Tile, XAlign, Splits, Epilogue>, {unsigned(tiles * p.splits)},
                          Tile::kThreads, Tile::kSharedBytes, o.x.data(), o.w.data(), o.shape, epilogue,
                          GemmSplit{p.splits, partials.data(), counters.data()});
  for (uint32_t c : counters)
    EXPECT_EQ(c, 0u);
  return error;
}

class GemmFixture : public Gemm {
protected:
  template <typename Mma> Operands<Mma> operands(const Problem &p) {
    using T = typename Mma::Input;
    int64_t stride = p.stride ? p.stride : p.k;
    float range = std::is_integral_v<T> ? 127 : 1;
    std::vector<T> x = numbers<T>(p.offset + (p.m - 1) * stride + p.k, -range, range),
                   w = numbers<T>(p.n * p.k, -range, range);
    return Operands<Mma>(p, std::move(x), w);
  }

  /// y = gelu(alpha x W + bias) + residual in Out.
  template <typename Mma, typename Tile, int XAlign, typename Out, bool Splits = false> void checkFull(Problem p) {
    Operands<Mma> o = operands<Mma>(p);
    Buffer<Out> y(p.m * p.n), residual(numbers<Out>(p.m * p.n));
    Buffer<float> bias(numbers<float>(p.n));
    using Epilogue = GemmEpilogue<Out, Activation::gelu_erf, true, true>;
    Epilogue epilogue{y.data(), bias.data(), residual.data(), nullptr, nullptr, 0, 0.125f, 0};
    ASSERT_EQ((launch<Mma, Tile, XAlign, Splits>(o, p, epilogue)), "") << p.m << "x" << p.n << "x" << p.k;
    std::vector<double> expected(p.m * p.n);
    for (size_t i = 0; i < expected.size(); ++i)
      expected[i] = activation(Activation::gelu_erf, 0.125 * o.product[i] + bias[i % p.n]) + toDouble(residual[i]);
    EXPECT_LE(relativeError(y, expected), tolerance<Out>()) << p.m << "x" << p.n << "x" << p.k;
  }
};

using TinyTile = GemmTile<32, 32, 64, 16, 16, 3>; // 128 threads

TEST_F(GemmFixture, TilesAndTails) {
  checkFull<MmaF16, GemmTile64x64, 16, f16>({64, 64, 64});
  checkFull<MmaF16, GemmTile64x64, 16, f16>({70, 72, 200});
  checkFull<MmaF16, GemmTile64x32, 16, f16>({1, 33, 8});
  checkFull<MmaF16, GemmTile128x64, 16, f16>({130, 70, 96});
  checkFull<MmaF16, GemmTile128x128, 16, f16>({129, 136, 72});
  checkFull<MmaF16, GemmTile128x128Deep, 16, f16>({128, 128, 136});
}

TEST_F(GemmFixture, Types) {
  checkFull<MmaBf16, GemmTile64x32, 16, bf16>({65, 40, 72});
  checkFull<MmaBf16, GemmTile64x32, 16, float>({65, 37, 72});
  checkFull<MmaF16, GemmTile64x32, 16, float>({33, 40, 72});
  checkFull<MmaF32, GemmTile64x32, 16, float>({65, 40, 100});
  checkFull<MmaF32, TinyTile, 4, float>({33, 33, 35});
}

TEST_F(GemmFixture, Tf32RoundsOperands) {
  Problem p{40, 40, 64};
  Operands<MmaTf32> o = operands<MmaTf32>(p);
  Buffer<float> y(p.m * p.n);
  ASSERT_EQ((launch<MmaTf32, TinyTile, 16, false>(
                o, p, GemmEpilogue<float>{y.data(), nullptr, nullptr, nullptr, nullptr, 0, 1, 0})),
            "");
  double error = relativeError(y, o.product);
  EXPECT_LE(error, 1e-3);
  EXPECT_GE(error, 1e-6); // or it would not be tf32
}

TEST_F(GemmFixture, RowsOfAnyAlignment) {
  checkFull<MmaF16, TinyTile, 8, f16>({33, 32, 44});
  checkFull<MmaF16, TinyTile, 4, f16>({33, 32, 34});
  checkFull<MmaF16, TinyTile, 2, f16>({33, 31, 35});
  checkFull<MmaF16, TinyTile, 16, f16>({33, 32, 40, 72, 24}); // columns of a wider tensor
  checkFull<MmaF16, TinyTile, 2, f16>({17, 9, 5, 11, 3});
}

TEST_F(GemmFixture, SplitsAlongK) {
  for (const char *seed : {"0", "1", "2"}) {
    setenv("LLMOPT_EMULATION_SEED", seed, 1);
    checkFull<MmaF16, TinyTile, 16, f16, true>({33, 40, 520, 0, 0, 3});
    checkFull<MmaF32, TinyTile, 16, float, true>({5, 33, 260, 0, 0, 4});
    checkFull<MmaF16, TinyTile, 16, f16, true>({5, 33, 40, 0, 0, 4}); // more parts than slices
  }
}

TEST_F(GemmFixture, SplitsGiveTheSameBitsInAnyOrder) {
  Problem p{20, 24, 512, 0, 0, 4};
  Operands<MmaF16> o = operands<MmaF16>(p);
  std::vector<std::vector<float>> results;
  for (const char *seed : {"0", "7", "8"}) {
    setenv("LLMOPT_EMULATION_SEED", seed, 1);
    Buffer<float> y(p.m * p.n);
    ASSERT_EQ((launch<MmaF16, TinyTile, 16, true>(
                  o, p, GemmEpilogue<float>{y.data(), nullptr, nullptr, nullptr, nullptr, 0, 1, 0})),
              "");
    results.emplace_back(y.begin(), y.end());
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST_F(GemmFixture, IntegersAreExact) {
  for (Problem p : {Problem{64, 64, 128}, Problem{70, 45, 208}, Problem{3, 17, 100}}) {
    Operands<MmaS8> o = operands<MmaS8>(p);
    Buffer<int32_t> y(p.m * p.n);
    GemmEpilogue<int32_t> epilogue{y.data(), nullptr, nullptr, nullptr, nullptr, 0, 1, 0};
    if (p.k % 16 == 0)
      ASSERT_EQ((launch<MmaS8, GemmTile64x64, 16, false>(o, p, epilogue)), "");
    else
      ASSERT_EQ((launch<MmaS8, GemmTile64x64, 4, false>(o, p, epilogue)), "");
    for (size_t i = 0; i < y.size(); ++i)
      ASSERT_EQ(y[i], int32_t(o.product[i]));
  }
  Problem split{20, 24, 512, 0, 0, 3};
  Operands<MmaS8> o = operands<MmaS8>(split);
  Buffer<int32_t> y(split.m * split.n);
  ASSERT_EQ((launch<MmaS8, TinyTile, 16, true>(
                o, split, GemmEpilogue<int32_t>{y.data(), nullptr, nullptr, nullptr, nullptr, 0, 1, 0})),
            "");
  for (size_t i = 0; i < y.size(); ++i)
    ASSERT_EQ(y[i], int32_t(o.product[i]));
}

TEST_F(GemmFixture, ScalesAndRequantizes) {
  Problem p{37, 48, 96};
  Operands<MmaS8> o = operands<MmaS8>(p);
  Buffer<float> rowScale(numbers<float>(p.m, 0.001f, 0.01f)), columnScale(numbers<float>(p.n, 0.001f, 0.01f)),
      bias(numbers<float>(p.n));
  Buffer<f16> residual(numbers<f16>(p.m * p.n)), y(p.m * p.n);
  GemmEpilogue<f16, Activation::relu, true, true, true> scaled{
      y.data(), bias.data(), residual.data(), rowScale.data(), columnScale.data(), 1, 1, 0};
  ASSERT_EQ((launch<MmaS8, TinyTile, 16, false>(o, p, scaled)), "");
  std::vector<double> expected(p.m * p.n);
  for (int64_t i = 0; i < p.m * p.n; ++i)
    expected[i] =
        activation(Activation::relu, o.product[i] * rowScale[i / p.n] * columnScale[i % p.n] + bias[i % p.n]) +
        toDouble(residual[i]);
  EXPECT_LE(relativeError(y, expected), 5e-3);

  Buffer<int8_t> q(p.m * p.n);
  GemmEpilogue<int8_t, Activation::none, true, false, true> requantized{
      q.data(), bias.data(), nullptr, rowScale.data(), columnScale.data(), 0, 1, 20.0f};
  ASSERT_EQ((launch<MmaS8, TinyTile, 16, false>(o, p, requantized)), "");
  for (int64_t i = 0; i < p.m * p.n; ++i) {
    float value = (float)o.product[i] * (rowScale[0] * columnScale[i % p.n]) + bias[i % p.n];
    ASSERT_EQ(q[i], quantize(value, 20.0f)) << i;
  }
}

TEST_F(GemmFixture, NothingIsReadBeyondOperands) {
  // NaNs beside every row of x and after W: a tail that read them would show it.
  Problem p{5, 9, 20, 24, 2};
  std::vector<f16> x(p.offset + p.m * p.stride, from_float<f16>(NAN)), w = numbers<f16>(p.n * p.k);
  for (int64_t i = 0; i < p.m; ++i)
    for (int64_t l = 0; l < p.k; ++l)
      x[p.offset + i * p.stride + l] = from_float<f16>(uniform());
  Operands<MmaF16> o(p, x, w);
  Buffer<float> y(p.m * p.n);
  ASSERT_EQ((launch<MmaF16, TinyTile, 4, false>(
                o, p, GemmEpilogue<float>{y.data(), nullptr, nullptr, nullptr, nullptr, 0, 1, 0})),
            "");
  EXPECT_LE(relativeError(y, o.product), 1e-4);
}

TEST_F(GemmFixture, InfinitiesAndNansSurvive) {
  Problem p{4, 8, 32};
  std::vector<float> x(p.m * p.k, 1.0f), w(p.n * p.k, 1.0f);
  x[0] = INFINITY;
  x[p.k] = NAN;
  Operands<MmaF32> o(p, x, w);
  Buffer<float> y(p.m * p.n);
  ASSERT_EQ((launch<MmaF32, TinyTile, 16, false>(
                o, p, GemmEpilogue<float>{y.data(), nullptr, nullptr, nullptr, nullptr, 0, 1, 0})),
            "");
  EXPECT_EQ(y[0], INFINITY);
  EXPECT_TRUE(std::isnan(y[8]));
  EXPECT_EQ(y[16], 32.0f);
}

} // namespace
