// Products with int4 and int8 weights, tensor cores and few rows, against sums in double.
#include "RunKernel.h"

#include "llmopt/cuda/narrow_any_rows.cuh"

using namespace llmopt;
using namespace llmopt::testing;

namespace {

template <typename Mma, typename Tile, int XAlign, bool Splits, typename Weight, typename Epilogue>
void narrow_kernel(const typename Mma::Input *x, Weight weight, GemmShape shape, Epilogue epilogue, GroupScales scales,
                   GemmSplit split) {
  mma_gemm_narrow<Mma, Tile, XAlign, Splits>(x, weight, shape, epilogue, scales, split);
}

template <typename Mma, typename Tile, typename Few, int XAlign, typename Weight, typename Epilogue>
void any_rows_kernel(const typename Mma::Input *x, Weight weight, GemmShape shape, Epilogue epilogue,
                     GroupScales scales) {
  narrow_any_rows<Mma, Tile, Few, XAlign>(x, weight, shape, epilogue, scales);
}

template <typename Tile, typename Few, int XAlign, typename Epilogue>
void s8_kernel(const int8_t *x, const int8_t *w, GemmShape shape, Epilogue epilogue) {
  s8_any_rows<Tile, Few, XAlign>(x, w, shape, epilogue);
}

/// An int4 weight as kernel.pack_groups makes it in rows, and the numbers it stands for.
template <int Group, typename Scale, bool HasZeros, int Offset> struct PackedInt4 {
  using Weight = Int4Weight<Group, Scale, HasZeros, Offset>;
  int64_t n, k;
  Buffer<uint8_t> bytes;
  std::vector<int> q;         // less the zero point
  std::vector<double> scales; // of every element

  template <typename Integer, typename Uniform>
  PackedInt4(int64_t n, int64_t k, Integer integer, Uniform uniform)
      : n(n), k(k), bytes(sizeOf(n, k)), q(n * k), scales(n * k) {
    const int64_t groups = k / Group, first_scale = align(n * k / 2),
                  first_zero = first_scale + align(n * groups * sizeof(Scale));
    for (uint8_t &b : bytes)
      b = uint8_t(integer(0, 255));
    for (int64_t j = 0; j < n; ++j)
      for (int64_t group = 0; group < groups; ++group) {
        Scale scale = from_float<Scale>(uniform(0.01f, 0.1f));
        memcpy(&bytes[first_scale + (j * groups + group) * sizeof(Scale)], &scale, sizeof(Scale));
        int zero = Offset;
        if (HasZeros)
          zero = bytes[first_zero + j * ((groups + 1) / 2) + group / 2] >> group % 2 * 4 & 15;
        for (int64_t l = group * Group; l < (group + 1) * Group; ++l) {
          q[j * k + l] = (bytes[(j * k + l) / 2] >> l % 2 * 4 & 15) - zero;
          scales[j * k + l] = toDouble(scale);
        }
      }
  }
  static int64_t align(int64_t bytes) { return (bytes + 15) / 16 * 16; }
  static int64_t sizeOf(int64_t n, int64_t k) {
    const int64_t groups = k / Group;
    return align(n * k / 2) + align(n * groups * sizeof(Scale)) + (HasZeros ? align(n * ((groups + 1) / 2)) : 0);
  }
  Weight weight() { return packed_int4<Weight>(bytes.data(), n, k); }
};

class NarrowGemm : public KernelTest {
protected:
  /// Both ways of a product with `weight`, whose element (k, n) stands for w(k, n): a tile for
  /// `splits` of K, and what the number of rows chooses.
  template <typename Mma, typename Tile, int XAlign, typename Out, typename Weight, typename Value>
  void check(Weight weight, int64_t m, int64_t n, int64_t k, int splits, int64_t perRow, Value w) {
    using T = typename Mma::Input;
    const float range = sizeof(T) == 1 ? 127 : 1;
    Buffer<T> x(numbers<T>(m * k, -range, range));
    Buffer<Out> residual(numbers<Out>(m * n));
    Buffer<float> bias(numbers<float>(n)), xScales(numbers<float>(m * std::max<int64_t>(perRow, 1), 0.001f, 0.01f));
    std::vector<double> expected(m * n);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = bias[j];
        for (int64_t l = 0; l < k; ++l) {
          double scale = perRow == 0 ? 1 : xScales[i * perRow + (perRow > 1 ? l * perRow / k : 0)];
          sum += toDouble(x[i * k + l]) * scale * w(l, j);
        }
        expected[i * n + j] = std::max(sum, 0.0) + toDouble(residual[i * n + j]);
      }
    using Epilogue = GemmEpilogue<Out, Activation::relu, true, true>;
    const GroupScales scales{xScales.data(), perRow};
    const GemmShape shape{m, n, k, k, 0};
    const int64_t tiles = (m + Tile::kM - 1) / Tile::kM * ((n + Tile::kN - 1) / Tile::kN);
    for (bool isSplit : {false, true}) {
      Buffer<Out> y(m * n);
      Epilogue epilogue{y.data(), bias.data(), residual.data(), nullptr, nullptr, 0, 1, 0};
      Buffer<uint32_t> partials(isSplit ? tiles * splits * Tile::kM * Tile::kN : 4), counters(tiles);
      GemmSplit split{isSplit ? splits : 1, partials.data(), counters.data()};
      auto kernel = isSplit ? narrow_kernel<Mma, Tile, XAlign, true, Weight, Epilogue>
                            : narrow_kernel<Mma, Tile, XAlign, false, Weight, Epilogue>;
      ASSERT_EQ((run(kernel, {unsigned(tiles * split.splits)}, Tile::kThreads, Tile::kSharedBytes, x.data(), weight,
                     shape, epilogue, scales, split)),
                "")
          << m << "x" << n << "x" << k;
      EXPECT_LE(relativeError(y, expected), (accuracy<T, Out>())) << m << "x" << n << "x" << k << " split " << isSplit;
    }
    if constexpr (Tile::kThreads == kGemvThreads) {
      using Few = AnyRows<2, 2>;
      Buffer<Out> y(m * n);
      Epilogue epilogue{y.data(), bias.data(), residual.data(), nullptr, nullptr, 0, 1, 0};
      const int64_t blocks = m <= kFewRows<T> ? (n + Few::kColumns - 1) / Few::kColumns : tiles;
      ASSERT_EQ((run(any_rows_kernel<Mma, Tile, Few, XAlign, Weight, Epilogue>, {unsigned(blocks)}, Tile::kThreads,
                     Tile::kSharedBytes, x.data(), weight, shape, epilogue, scales)),
                "");
      EXPECT_LE(relativeError(y, expected), (accuracy<T, Out>())) << m << "x" << n << "x" << k << " any rows";
    }
  }
  /// Integers by floats of 24 bits, and sums of integers, have the error of f32.
  template <typename T, typename Out> double accuracy() {
    return sizeof(T) == 2 ? tolerance<T>() : tolerance<Out>() / 10;
  }

  template <typename Mma, int BM, int BN, int WM, int WN, int XAlign, int Group, typename Scale, bool HasZeros,
            int Offset = 8, typename Out = typename Mma::Input>
  void checkInt4(int64_t m, int64_t n, int64_t k, int splits = 3, int64_t perRow = 0) {
    PackedInt4<Group, Scale, HasZeros, Offset> w(
        n, k, [&](int a, int b) { return integer(a, b); }, [&](float a, float b) { return uniform(a, b); });
    using Weight = typename decltype(w)::Weight;
    using Tile = NarrowTile<typename Mma::Input, Weight, BM, BN, WM, WN, 4>;
    check<Mma, Tile, XAlign, Out>(w.weight(), m, n, k, splits, perRow,
                                  [&](int64_t l, int64_t j) { return w.q[j * k + l] * w.scales[j * k + l]; });
  }

  template <typename Mma, int BM, int BN, int WM, int WN, int XAlign, typename Out = typename Mma::Input>
  void checkInt8(int64_t m, int64_t n, int64_t k, int splits = 3) {
    const int64_t width = (k + 15) / 16 * 16;
    Buffer<int8_t> w(n * width);
    Buffer<float> scales(numbers<float>(n, 0.001f, 0.01f));
    for (int64_t j = 0; j < n; ++j)
      for (int64_t l = 0; l < k; ++l)
        w[j * width + l] = int8_t(integer(-128, 127));
    using Tile = NarrowTile<typename Mma::Input, Int8Weight, BM, BN, WM, WN, 4>;
    check<Mma, Tile, XAlign, Out>(Int8Weight{w.data(), scales.data()}, m, n, k, splits, 0,
                                  [&](int64_t l, int64_t j) { return w[j * width + l] * double(scales[j]); });
  }
};

TEST_F(NarrowGemm, Int4By16Bits) {
  checkInt4<MmaF16, 32, 128, 32, 32, 16, 32, float, false>(17, 136, 128);
  checkInt4<MmaF16, 64, 128, 32, 64, 16, 128, f16, true>(70, 40, 384);
  checkInt4<MmaF16, 128, 128, 64, 32, 16, 64, f16, false>(129, 130, 64);
  checkInt4<MmaF16, 64, 64, 32, 32, 16, 64, f16, true>(5, 33, 192);
  checkInt4<MmaF16, 64, 64, 32, 32, 16, 32, f16, false, 0>(1, 33, 64);
  checkInt4<MmaBf16, 32, 128, 32, 32, 16, 32, float, true>(20, 24, 96);
  checkInt4<MmaBf16, 64, 64, 32, 32, 8, 32, float, true, 8, float>(3, 24, 96);
}

TEST_F(NarrowGemm, Int4ByF32) {
  checkInt4<MmaF32, 64, 64, 32, 32, 16, 32, float, false>(70, 72, 160);
  checkInt4<MmaF32, 64, 64, 32, 32, 16, 64, float, true>(9, 33, 192);
  checkInt4<MmaF32, 64, 64, 32, 32, 16, 128, float, true>(4, 40, 384);
  checkInt4<MmaF32, 64, 64, 32, 32, 4, 32, float, false, 0>(1, 9, 32);
  checkInt4<MmaF32, 64, 64, 32, 32, 16, 32, float, false, 8, f16>(12, 9, 64);
}

TEST_F(NarrowGemm, Int4ByInt8) {
  checkInt4<MmaS8, 64, 64, 32, 32, 16, 32, float, false, 8, float>(70, 72, 160, 3, 5);
  checkInt4<MmaS8, 64, 64, 32, 32, 16, 64, float, true, 8, float>(8, 33, 192, 2, 3);
  checkInt4<MmaS8, 64, 64, 32, 32, 16, 128, float, true, 8, float>(4, 40, 384, 2, 1);
  checkInt4<MmaS8, 64, 64, 32, 32, 16, 32, float, false, 0, f16>(1, 9, 96, 2, 3);
}

TEST_F(NarrowGemm, Int8Weights) {
  checkInt8<MmaF16, 64, 64, 32, 32, 16>(70, 72, 160);
  checkInt8<MmaF16, 128, 128, 64, 32, 16>(129, 130, 72);
  checkInt8<MmaBf16, 64, 64, 32, 32, 2>(20, 33, 77);
  checkInt8<MmaF32, 64, 64, 32, 32, 16>(66, 40, 96);
  checkInt8<MmaF32, 64, 64, 32, 32, 4, f16>(4, 40, 35);
  checkInt8<MmaF16, 64, 64, 32, 32, 2>(7, 9, 35);
}

TEST_F(NarrowGemm, PartsInAnyOrder) {
  for (const char *seed : {"1", "5"}) {
    setenv("LLMOPT_EMULATION_SEED", seed, 1);
    checkInt4<MmaF16, 32, 128, 32, 32, 16, 32, float, true>(3, 40, 512, 3);
    checkInt4<MmaF32, 64, 64, 32, 32, 16, 64, float, true>(5, 40, 512, 3);
  }
}

TEST_F(NarrowGemm, WordsAreExact) {
  for (int zero = 0; zero < 16; ++zero)
    for (uint32_t byte = 0; byte < 256; ++byte)
      for (int i = 0; i < 4; ++i) {
        float2 pair = Storage<f16>::unpack(Int4Words<f16>(0.5f, float(zero))(byte << 8 * i, i));
        ASSERT_EQ(pair.x, 0.5f * (int(byte & 15) - zero));
        ASSERT_EQ(pair.y, 0.5f * (int(byte >> 4) - zero));
        uint32_t four = Int4Words<int8_t>(1.0f, float(zero))(byte << 8 * i, i / 2);
        ASSERT_EQ(int8_t(four >> 16 * (i % 2)), int(byte & 15) - zero);
        ASSERT_EQ(int8_t(four >> (16 * (i % 2) + 8)), int(byte >> 4) - zero);
      }
  for (int q = -128; q < 128; ++q)
    for (int i = 0; i < 8; ++i) {
      const uint64_t both = uint64_t(uint8_t(q)) << 8 * i;
      const uint2 bits = make_uint2(uint32_t(both), uint32_t(both >> 32));
      const float2 half = Storage<f16>::unpack(Int8Words<f16>(1, 0)(bits, i / 2)),
                   brain = Storage<bf16>::unpack(Int8Words<bf16>(1, 0)(bits, i / 2));
      ASSERT_EQ(i % 2 ? half.y : half.x, float(q));
      ASSERT_EQ(i % 2 ? brain.y : brain.x, float(q));
      ASSERT_EQ(__uint_as_float(Int8Words<float>(1, 0)(bits, i)), float(q));
    }
}

TEST_F(NarrowGemm, InfinitiesAndNansSurvive) {
  const int64_t m = 12, n = 8, k = 32;
  for (bool isInt8 : {false, true}) {
    Buffer<float> x(std::vector<float>(m * k, 1.0f)), scales(std::vector<float>(n, 0.5f)), y(m * n);
    x[0] = INFINITY, x[k + 1] = NAN;
    Buffer<uint8_t> w(isInt8 ? n * k : n * k / 2 + n * 4);
    for (int64_t i = 0; i < int64_t(w.size()); ++i)
      w[i] = isInt8 ? 1 : 0x99; // 1 beside 8
    if (!isInt8)
      memcpy(&w[n * k / 2], scales.data(), n * 4);
    using Epilogue = GemmEpilogue<float>;
    const Epilogue epilogue{y.data(), nullptr, nullptr, nullptr, nullptr, 0, 1, 0};
    using Int4 = Int4Weight<32, float, false>;
    using Tile4 = NarrowTile<float, Int4, 64, 64, 32, 32, 4>;
    using Tile8 = NarrowTile<float, Int8Weight, 64, 64, 32, 32, 4>;
    const GemmShape shape{m, n, k, k, 0};
    ASSERT_EQ((isInt8 ? run(narrow_kernel<MmaF32, Tile8, 16, false, Int8Weight, Epilogue>, {1}, 128,
                            Tile8::kSharedBytes, x.data(), Int8Weight{(int8_t *)w.data(), scales.data()}, shape,
                            epilogue, GroupScales{nullptr, 0}, GemmSplit{1, nullptr, nullptr})
                      : run(narrow_kernel<MmaF32, Tile4, 16, false, Int4, Epilogue>, {1}, 128, Tile4::kSharedBytes,
                            x.data(), packed_int4<Int4>(w.data(), n, k), shape, epilogue, GroupScales{nullptr, 0},
                            GemmSplit{1, nullptr, nullptr})),
              "");
    EXPECT_EQ(y[0], INFINITY);
    EXPECT_TRUE(std::isnan(y[n]));
    EXPECT_EQ(y[2 * n], 16.0f);
  }
}

TEST_F(NarrowGemm, Int8ByInt8IsExact) {
  for (int64_t m : {1, 3, 7, 70}) {
    const int64_t n = 45, k = m == 3 ? 100 : 208, width = (k + 15) / 16 * 16;
    Buffer<int8_t> x(numbers<int8_t>(m * k, -128, 127)), w(n * width), zero(1);
    Buffer<int32_t> sums(n), y(m * n);
    zero[0] = int8_t(-77);
    for (int64_t j = 0; j < n; ++j)
      for (int64_t l = 0; l < k; ++l)
        sums[j] += w[j * width + l] = int8_t(integer(-128, 127));
    std::vector<int32_t> expected(m * n);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j)
        for (int64_t l = 0; l < k; ++l)
          expected[i * n + j] += x[i * k + l] * w[j * width + l];
    using Few = AnyRows<4, 4>;
    const unsigned blocks = m <= 8 ? (n + Few::kColumns - 1) / Few::kColumns : (m + 63) / 64 * ((n + 63) / 64);
    auto launch = [&](auto epilogue) {
      using Epilogue = decltype(epilogue);
      return run(k % 16 ? s8_kernel<GemmTile64x64, Few, 4, Epilogue> : s8_kernel<GemmTile64x64, Few, 16, Epilogue>,
                 {blocks}, 128, GemmTile64x64::kSharedBytes, x.data(), w.data(), GemmShape{m, n, k, k, 0}, epilogue);
    };
    ASSERT_EQ(launch(GemmEpilogue<int32_t>{y.data(), nullptr, nullptr, nullptr, nullptr, 0, 1, 0}), "");
    for (size_t i = 0; i < y.size(); ++i)
      ASSERT_EQ(y[i], expected[i]) << m;
    // One scale for all rows, and a zero point: the same integers, then one rounding.
    Buffer<float> real(m * n), scale(1, 0.25f), columns(n, 1.0f);
    ASSERT_EQ(launch(GemmEpilogue<float, Activation::none, false, false, true, float, float, true>{
                  real.data(), nullptr, nullptr, scale.data(), columns.data(), 0, 1, 0, zero.data(), sums.data()}),
              "");
    for (size_t i = 0; i < y.size(); ++i)
      ASSERT_EQ(real[i], 0.25f * float(expected[i] + 77 * sums[i % n])) << m;
  }
}

} // namespace
