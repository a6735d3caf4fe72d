// Products of few rows with f32, f16, bf16, int8 and int4 weights against sums in double.
#include "RunKernel.h"

#include "llmopt/cuda/gemv.cuh"

using namespace llmopt;
using namespace llmopt::testing;

namespace {

template <int M, int Columns, int KWarps, bool Aligned, typename X, typename Weight, typename Epilogue>
void gemv_kernel(const X *x, Weight weight, GemmShape shape, Epilogue epilogue) {
  gemv<M, Columns, KWarps, Aligned>(x, weight, shape, epilogue);
}

class Gemv : public KernelTest {
protected:
  /// silu(x W + bias) + residual for W given as numbers, column by column.
  template <int M, int Columns, int KWarps, bool Aligned, typename X, typename Weight>
  void check(Weight weight, const std::vector<double> &columns, int64_t m, int64_t n, int64_t k) {
    int64_t stride = Aligned ? (k + 7) / 8 * 8 : k;
    Buffer<X> x(numbers<X>(m * stride)), y(m * n), residual(numbers<X>(m * n));
    Buffer<float> bias(numbers<float>(n));
    for (int64_t i = 0; i < m; ++i) // what lies between rows must not be read
      std::fill(x.begin() + i * stride + k, x.begin() + (i + 1) * stride, from_float<X>(NAN));
    using Epilogue = GemmEpilogue<X, Activation::silu, true, true>;
    Epilogue epilogue{y.data(), bias.data(), residual.data(), nullptr, nullptr, 0, 0.5f, 0};
    int64_t perBlock = Columns * 4 / KWarps;
    ASSERT_EQ(
        (run(gemv_kernel<M, Columns, KWarps, Aligned, X, Weight, Epilogue>, {unsigned((n + perBlock - 1) / perBlock)},
             kGemvThreads, 0, x.data(), weight, GemmShape{m, n, k, stride, 0}, epilogue)),
        "");
    std::vector<double> expected(m * n);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < k; ++l)
          sum += toDouble(x[i * stride + l]) * columns[j * k + l];
        double v = 0.5 * sum + bias[j];
        expected[i * n + j] = v / (1 + std::exp(-v)) + toDouble(residual[i * n + j]);
      }
    EXPECT_LE(relativeError(y, expected), tolerance<X>()) << m << "x" << n << "x" << k;
  }

  template <typename T, int M, int Columns, int KWarps, bool Aligned, typename X>
  void checkFloat(int64_t m, int64_t n, int64_t k) {
    int64_t pad = 16 / sizeof(T), width = (k + pad - 1) / pad * pad;
    std::vector<T> packed(n * width, T{});
    std::vector<double> columns(n * k);
    for (int64_t j = 0; j < n; ++j)
      for (int64_t l = 0; l < k; ++l)
        columns[j * k + l] = toDouble(packed[j * width + l] = from_float<T>(uniform()));
    Buffer<T> w(packed);
    check<M, Columns, KWarps, Aligned, X>(FloatWeight<T>{w.data()}, columns, m, n, k);
  }

  template <int M, int Columns, int KWarps, bool Aligned, typename X> void checkInt8(int64_t m, int64_t n, int64_t k) {
    int64_t width = (k + 15) / 16 * 16;
    std::vector<int8_t> packed(n * width, 0);
    Buffer<float> scales(numbers<float>(n, 0.001f, 0.01f));
    std::vector<double> columns(n * k);
    for (int64_t j = 0; j < n; ++j)
      for (int64_t l = 0; l < k; ++l)
        columns[j * k + l] = (packed[j * width + l] = int8_t(integer(-128, 127))) * double(scales[j]);
    Buffer<int8_t> w(packed);
    check<M, Columns, KWarps, Aligned, X>(Int8Weight{w.data(), scales.data()}, columns, m, n, k);
  }

  template <int Group, typename Scale, bool HasZeros, int M, int Columns, int KWarps, bool Aligned, typename X>
  void checkInt4(int64_t m, int64_t n, int64_t k) {
    int64_t groups = (k + Group - 1) / Group, zeroBytes = (groups + 1) / 2;
    Buffer<uint8_t> w(n * groups * Group / 2), zeros(n * zeroBytes);
    Buffer<Scale> scales(numbers<Scale>(n * groups, 0.01f, 0.1f));
    for (uint8_t &b : w)
      b = uint8_t(integer(0, 255));
    for (uint8_t &b : zeros)
      b = uint8_t(integer(0, 255));
    std::vector<double> columns(n * k);
    for (int64_t j = 0; j < n; ++j)
      for (int64_t l = 0; l < k; ++l) {
        int q = w[(j * groups * Group + l) / 2] >> l % 2 * 4 & 15, g = int(l / Group);
        int zero = HasZeros ? zeros[j * zeroBytes + g / 2] >> g % 2 * 4 & 15 : 8;
        columns[j * k + l] = (q - zero) * toDouble(scales[j * groups + g]);
      }
    check<M, Columns, KWarps, Aligned, X>(Int4Weight<Group, Scale, HasZeros>{w.data(), scales.data(), zeros.data()},
                                          columns, m, n, k);
  }
};

TEST_F(Gemv, Floats) {
  checkFloat<f16, 1, 4, 1, true, f16>(1, 40, 520);
  checkFloat<f16, 1, 2, 4, true, f16>(1, 7, 1100);
  checkFloat<f16, 8, 2, 2, true, f16>(5, 9, 300);
  checkFloat<f16, 4, 2, 1, false, f16>(3, 5, 77);
  checkFloat<bf16, 2, 4, 1, true, bf16>(2, 17, 264);
  checkFloat<float, 1, 4, 1, true, float>(1, 33, 260);
  checkFloat<float, 2, 4, 4, false, float>(2, 33, 35);
  checkFloat<f16, 1, 4, 1, true, float>(1, 33, 264);
}

TEST_F(Gemv, Int8) {
  checkInt8<1, 4, 1, true, f16>(1, 40, 520);
  checkInt8<4, 2, 4, true, f16>(4, 11, 264);
  checkInt8<2, 2, 2, false, float>(2, 11, 77);
}

TEST_F(Gemv, Int4) {
  checkInt4<32, float, false, 1, 4, 1, true, f16>(1, 40, 512);
  checkInt4<128, f16, true, 1, 2, 4, true, f16>(1, 9, 1280);
  checkInt4<64, f16, true, 4, 2, 2, true, f16>(3, 9, 200); // the last group is not full
  checkInt4<32, float, true, 2, 4, 1, false, float>(2, 9, 77);
  checkInt4<32, float, false, 8, 2, 1, true, bf16>(8, 6, 96);
}

} // namespace
