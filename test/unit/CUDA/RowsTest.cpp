// Kernels over rows against double: norms, embeddings, softmax, quantization, rotary
// positions, top k; in f32, f16 and bf16, rows of a warp and of a block, any width.
#include "RunKernel.h"

#include "llmopt/cuda/norm.cuh"
#include "llmopt/cuda/rope.cuh"
#include "llmopt/cuda/topk.cuh"

#include <algorithm>
#include <numeric>

using namespace llmopt;
using namespace llmopt::testing;

namespace {

template <typename Form, bool IsLayer, bool Dynamic, typename T, typename P> void norm_kernel(NormArguments<T, P> a) {
  norm_rows_typed<Form, IsLayer, Dynamic>(a);
}
template <typename Form, bool Normalises, bool IsLayer, bool Dynamic, typename T, typename P, typename A, typename B>
void embed_kernel(NormArguments<T, P> a, A first, B second) {
  embed_rows<Form, Normalises, IsLayer, Dynamic>(a, first, second);
}
template <typename Form, bool Log, typename T> void softmax_kernel(const T *x, T *y, int64_t rows, int64_t width) {
  softmax_rows_typed<Form, Log>(x, y, rows, width);
}
template <typename Form, typename T>
void quantize_kernel(const T *x, int8_t *q, float *scale, int64_t rows, int64_t width) {
  quantize_rows_typed<Form>(x, q, scale, rows, width);
}
template <bool Interleaved, typename T> void rope_kernel(RopeArguments<T> a) { rope_append<Interleaved>(a); }
template <typename T, typename Index> void top_kernel(const T *x, T *values, Index *indices, int64_t width, int64_t k) {
  top_k_rows(x, values, indices, width, k);
}

template <typename Form> unsigned blocksOf(int64_t rows) { return unsigned((rows + Form::kRows - 1) / Form::kRows); }

class Rows : public KernelTest {
protected:
  template <typename P>
  std::vector<double> norm(const std::vector<double> &sum, Buffer<P> &scale, Buffer<P> &bias, bool layer, int64_t width,
                           double epsilon) {
    std::vector<double> y(sum.size());
    for (size_t first = 0; first < sum.size(); first += width) {
      double mean = 0, variance = 0;
      for (int64_t i = 0; layer && i < width; ++i)
        mean += sum[first + i] / width;
      for (int64_t i = 0; i < width; ++i)
        variance += (sum[first + i] - mean) * (sum[first + i] - mean) / width;
      for (int64_t i = 0; i < width; ++i)
        y[first + i] = (sum[first + i] - mean) / std::sqrt(variance + epsilon) * toDouble(scale[i]) + toDouble(bias[i]);
    }
    return y;
  }

  /// Quantized rows are what their scales say, within the rounding of y.
  void checkQuantized(Buffer<int8_t> &q, Buffer<float> &scales, const std::vector<double> &y, int64_t width,
                      bool dynamic, float fixed) {
    for (size_t i = 0; i < y.size(); ++i) {
      float scale = dynamic ? scales[i / width] : fixed;
      ASSERT_LE(std::fabs(q[i] * scale - std::clamp(y[i], -127.0 * scale, 127.0 * scale)), scale * 0.501) << i;
    }
    for (size_t row = 0; dynamic && row < scales.size(); ++row) {
      double largest = 0;
      for (int64_t i = 0; i < width; ++i)
        largest = std::max(largest, std::fabs(y[row * width + i]));
      EXPECT_NEAR(scales[row], largest / 127, 1e-4 * largest / 127);
    }
  }

  template <typename Form, bool IsLayer, bool Dynamic, typename P = float> void checkNorm(int64_t rows, int64_t width) {
    using T = typename Form::Element;
    size_t count = rows * width;
    Buffer<T> x(numbers<T>(count, -2, 3)), residual(numbers<T>(count)), y(count), sum(count);
    Buffer<P> inputBias(numbers<P>(width)), scale(numbers<P>(width, 0.5f, 2)), bias(numbers<P>(width));
    Buffer<int8_t> q(count);
    Buffer<float> scales(rows), fixed(1, 0.03f);
    NormArguments<T, P> a{x.data(),
                          residual.data(),
                          inputBias.data(),
                          scale.data(),
                          bias.data(),
                          y.data(),
                          sum.data(),
                          q.data(),
                          scales.data(),
                          {fixed.data(), nullptr, -127.0f},
                          rows,
                          width,
                          1e-5f};
    ASSERT_EQ((run(norm_kernel<Form, IsLayer, Dynamic, T, P>, {blocksOf<Form>(rows)}, Form::kBlock, 0, a)), "");
    std::vector<double> added(count);
    for (size_t i = 0; i < count; ++i)
      added[i] = toDouble(x[i]) + toDouble(residual[i]) + toDouble(inputBias[i % width]);
    EXPECT_LE(relativeError(sum, added), tolerance<T>());
    std::vector<double> expected = norm(added, scale, bias, IsLayer, width, 1e-5);
    EXPECT_LE(relativeError(y, expected), tolerance<T>()) << rows << "x" << width;
    checkQuantized(q, scales, expected, width, Dynamic, 0.03f);
  }
};

template <typename T, bool Aligned = true> using Warp = RowForm<T, 32, 1024 / (32 * 16 / (int)sizeof(T)), Aligned>;
template <typename T, bool Aligned = true> using Wide = RowForm<T, 256, 2, Aligned>;

TEST_F(Rows, Norms) {
  checkNorm<Warp<float>, true, false>(5, 768);
  checkNorm<Warp<float>, false, true>(4, 64);
  checkNorm<Warp<f16>, true, true>(6, 768);
  checkNorm<Warp<f16>, false, false>(3, 1024);
  checkNorm<Warp<bf16>, true, false>(3, 312);
  checkNorm<Warp<f16>, true, true, f16>(3, 256);
  checkNorm<Wide<f16>, true, true>(2, 4096);
  checkNorm<Wide<float>, false, true>(3, 1028);
  checkNorm<Warp<f16, false>, true, true>(3, 333);
  checkNorm<Wide<float, false>, true, false>(2, 1027);
}

TEST_F(Rows, NormsWithoutExtras) {
  Buffer<float> x(numbers<float>(3 * 96)), y(3 * 96), ones(96, 1.0f), zeros(96, 0.0f);
  using Form = Warp<float>;
  NormArguments<float> a{x.data(), nullptr, nullptr, nullptr, nullptr, y.data(), nullptr,
                         nullptr,  nullptr, {},      3,       96,      1e-3f};
  ASSERT_EQ((run(norm_kernel<Form, true, false, float, float>, {blocksOf<Form>(3)}, Form::kBlock, 0, a)), "");
  std::vector<double> input(x.begin(), x.end()), expected = norm(input, ones, zeros, true, 96, 1e-3);
  EXPECT_LE(relativeError(y, expected), 1e-4);
}

TEST_F(Rows, Embeddings) {
  using Form = Warp<f16>;
  int64_t rows = 6, width = 96;
  Buffer<f16> words(numbers<f16>(10 * width)), positions(numbers<f16>(3 * width)), y(rows * width), sum(rows * width);
  Buffer<float> scale(numbers<float>(width)), bias(numbers<float>(width));
  Buffer<int64_t> ids(std::vector<int64_t>{3, -1, 9, 0, 77, 5});
  Buffer<int32_t> places(std::vector<int32_t>{0, 1, 2});
  std::vector<double> added(rows * width);
  const int64_t picked[] = {3, 9, 9, 0, 9, 5};
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < width; ++i)
      added[r * width + i] = toDouble(words[picked[r] * width + i]) + toDouble(positions[r % 3 * width + i]);
  NormArguments<f16> a{nullptr, nullptr, nullptr, scale.data(), bias.data(), y.data(), sum.data(),
                       nullptr, nullptr, {},      rows,         width,       1e-5f};
  EmbeddingRows<f16, int64_t> wordRows{words.data(), ids.data(), 10, 6};
  EmbeddingRows<f16, int32_t> positionRows{positions.data(), places.data(), 3, 3};
  ASSERT_EQ(
      (run(embed_kernel<Form, true, true, false, f16, float, EmbeddingRows<f16, int64_t>, EmbeddingRows<f16, int32_t>>,
           {blocksOf<Form>(rows)}, Form::kBlock, 0, a, wordRows, positionRows)),
      "");
  std::vector<double> expected = norm(added, scale, bias, true, width, 1e-5);
  EXPECT_LE(relativeError(sum, added), 5e-3);
  EXPECT_LE(relativeError(y, expected), 5e-3);
  ASSERT_EQ(
      (run(embed_kernel<Form, false, true, false, f16, float, EmbeddingRows<f16, int64_t>, EmbeddingRows<f16, int32_t>>,
           {blocksOf<Form>(rows)}, Form::kBlock, 0, a, wordRows, positionRows)),
      "");
  EXPECT_LE(relativeError(y, added), 5e-3);
}

TEST_F(Rows, Softmax) {
  auto check = [&](auto form, bool log, int64_t rows, int64_t width) {
    using Form = decltype(form);
    using T = typename Form::Element;
    Buffer<T> x(numbers<T>(rows * width, -6, 6)), y(rows * width);
    x[0] = from_float<T>(-INFINITY);
    auto kernel = log ? softmax_kernel<Form, true, T> : softmax_kernel<Form, false, T>;
    ASSERT_EQ(run(kernel, {blocksOf<Form>(rows)}, Form::kBlock, 0, x.data(), y.data(), rows, width), "");
    std::vector<double> expected(rows * width);
    for (int64_t r = 0; r < rows; ++r) {
      double total = 0;
      for (int64_t i = 0; i < width; ++i)
        total += std::exp(toDouble(x[r * width + i]));
      for (int64_t i = 0; i < width; ++i) {
        double v = toDouble(x[r * width + i]);
        expected[r * width + i] = log ? v - std::log(total) : std::exp(v) / total;
      }
    }
    EXPECT_LE(relativeError(y, expected), tolerance<T>()) << rows << "x" << width;
  };
  for (bool log : {false, true}) {
    check(Warp<float>(), log, 5, 128);
    check(Warp<f16>(), log, 3, 384);
    check(Warp<bf16, false>(), log, 3, 37);
    check(Wide<float>(), log, 2, 2048);
    check(Wide<f16, false>(), log, 2, 1031);
  }
}

/// The scale, the zero point and the range are those of the whole tensor.
template <bool Aligned, typename T> void tensor_kernel(const T *x, int8_t *q, TensorScale scale, int64_t count) {
  quantize_tensor<Aligned>(x, q, scale, count);
}

TEST_F(Rows, QuantizeTensor) {
  auto check = [&](auto kernel, auto sample, int64_t count, bool hasZero, float lowest) {
    using T = decltype(sample);
    Buffer<T> x(numbers<T>(count, -4, 4));
    Buffer<int8_t> q(count), zero(1, int8_t(-19));
    Buffer<float> scale(1, 0.03f);
    x[0] = from_float<T>(NAN), x[1] = from_float<T>(INFINITY), x[2] = from_float<T>(-INFINITY);
    ASSERT_EQ((run(kernel, {unsigned((count + 2047) / 2048)}, 256, 0, x.data(), q.data(),
                   TensorScale{scale.data(), hasZero ? zero.data() : nullptr, lowest}, count)),
              "");
    for (int64_t i = 0; i < count; ++i) {
      float v = std::nearbyint(to_float(x[i]) / 0.03f) + (hasZero ? -19 : 0);
      ASSERT_EQ(float(q[i]), std::isnan(v) ? lowest : std::min(std::max(v, lowest), 127.0f)) << i;
    }
  };
  check(tensor_kernel<true, float>, 0.0f, 5000, true, -128);
  check(tensor_kernel<false, float>, 0.0f, 2049, false, -127);
  check(tensor_kernel<true, f16>, f16(), 2055, true, -127);
  check(tensor_kernel<false, bf16>, bf16(), 77, false, -128);
}

TEST_F(Rows, Quantize) {
  using Form = Warp<f16>;
  int64_t rows = 5, width = 264;
  Buffer<f16> x(numbers<f16>(rows * width, -3, 3));
  Buffer<int8_t> q(rows * width);
  Buffer<float> scales(rows);
  for (int64_t i = 0; i < width; ++i)
    x[width + i] = from_float<f16>(0);
  x[2 * width + 7] = from_float<f16>(NAN);
  x[3 * width + 7] = from_float<f16>(INFINITY);
  ASSERT_EQ((run(quantize_kernel<Form, f16>, {blocksOf<Form>(rows)}, Form::kBlock, 0, x.data(), q.data(), scales.data(),
                 rows, width)),
            "");
  EXPECT_EQ(scales[1], 1.0f);
  EXPECT_TRUE(std::isnan(scales[2]) && std::isnan(scales[3]));
  for (int64_t row : {0, 1, 4})
    for (int64_t i = 0; i < width; ++i)
      ASSERT_EQ(q[row * width + i], int(rintf(to_float(x[row * width + i]) / scales[row])));
}

TEST_F(Rows, RopeWithCaches) {
  // B 2, 3 new tokens after 4, 4 heads over 2 key heads, D 20 of which 16 rotate; q, k, v in one tensor.
  int64_t batch = 2, tokens = 3, heads = 4, keyHeads = 2, D = 20, DV = 12, R = 16, capacity = 9, past = 4;
  int64_t row = heads * D + keyHeads * D + keyHeads * DV;
  for (bool interleaved : {false, true}) {
    Buffer<f16> qkv(numbers<f16>(batch * tokens * row)), rotated(batch * tokens * heads * D),
        keys(numbers<f16>(batch * capacity * keyHeads * D)), values(numbers<f16>(batch * capacity * keyHeads * DV));
    std::vector<double> wantQ(rotated.size()), wantK(keys.size()), wantV(values.size());
    for (size_t i = 0; i < keys.size(); ++i)
      wantK[i] = toDouble(keys[i]);
    for (size_t i = 0; i < values.size(); ++i)
      wantV[i] = toDouble(values[i]);
    Buffer<float> cosine(10 * R / 2), sine(10 * R / 2);
    for (int64_t p = 0; p < 10; ++p)
      for (int64_t i = 0; i < R / 2; ++i) {
        cosine[p * R / 2 + i] = std::cos(p * std::pow(100.0, -2.0 * i / R));
        sine[p * R / 2 + i] = std::sin(p * std::pow(100.0, -2.0 * i / R));
      }
    Buffer<int64_t> pasts(std::vector<int64_t>{past});
    auto rotate = [&](const f16 *from, double *to, int64_t count, int64_t p) {
      for (int64_t h = 0; h < count; ++h)
        for (int64_t d = 0; d < D; ++d) {
          double x = toDouble(from[h * D + d]);
          if (d < R) {
            bool first = interleaved ? d % 2 == 0 : d < R / 2;
            int64_t pair = interleaved ? d / 2 : d % (R / 2);
            int64_t other = interleaved ? d ^ 1 : (d + R / 2) % R;
            double y = toDouble(from[h * D + other]), c = cosine[p * R / 2 + pair], s = sine[p * R / 2 + pair];
            x = first ? x * c - y * s : x * c + y * s;
          }
          to[h * D + d] = x;
        }
    };
    for (int64_t t = 0; t < batch * tokens; ++t) {
      const f16 *from = qkv.data() + t * row;
      int64_t p = past + t % tokens, slot = t / tokens * capacity + p;
      rotate(from, wantQ.data() + t * heads * D, heads, p);
      rotate(from + heads * D, wantK.data() + slot * keyHeads * D, keyHeads, p);
      for (int64_t i = 0; i < keyHeads * DV; ++i)
        wantV[slot * keyHeads * DV + i] = toDouble(from[(heads + keyHeads) * D + i]);
    }
    RopeArguments<f16> a{qkv.data(),
                         qkv.data() + heads * D,
                         qkv.data() + (heads + keyHeads) * D,
                         rotated.data(),
                         keys.data(),
                         values.data(),
                         nullptr,
                         cosine.data(),
                         sine.data(),
                         nullptr,
                         pasts.data(),
                         10,
                         tokens,
                         capacity,
                         heads,
                         keyHeads,
                         D,
                         DV,
                         R,
                         row,
                         row,
                         row};
    auto kernel = interleaved ? rope_kernel<true, f16> : rope_kernel<false, f16>;
    ASSERT_EQ(run(kernel, {unsigned(batch * tokens)}, kRopeThreads, 0, a), "");
    EXPECT_LE(relativeError(rotated, wantQ), 5e-3);
    EXPECT_LE(relativeError(keys, wantK), 5e-3);
    EXPECT_LE(relativeError(values, wantV), 0.0);
  }
}

TEST_F(Rows, TopK) {
  int64_t rows = 3, width = 1000, k = 5;
  Buffer<f16> x(numbers<f16>(rows * width)), values(rows * k);
  Buffer<int64_t> indices(rows * k);
  x[10] = x[700] = from_float<f16>(2); // equals
  x[width + 3] = from_float<f16>(NAN); // counts as the largest
  x[width + 500] = from_float<f16>(INFINITY);
  for (const char *seed : {"0", "3"}) {
    setenv("LLMOPT_EMULATION_SEED", seed, 1);
    ASSERT_EQ((run(top_kernel<f16, int64_t>, {unsigned(rows)}, kTopThreads, 0, x.data(), values.data(), indices.data(),
                   width, k)),
              "");
    for (int64_t r = 0; r < rows; ++r) {
      std::vector<int64_t> order(width);
      std::iota(order.begin(), order.end(), 0);
      std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        double u = toDouble(x[r * width + a]), v = toDouble(x[r * width + b]);
        bool equal = u == v || (std::isnan(u) && std::isnan(v));
        return equal ? a < b : std::isnan(u) || u > v;
      });
      for (int64_t i = 0; i < k; ++i) {
        EXPECT_EQ(indices[r * k + i], order[i]) << r << " " << i;
        EXPECT_EQ(values[r * k + i].bits, x[r * width + order[i]].bits);
      }
    }
  }
  Buffer<float> small(std::vector<float>{1, 3, 3});
  Buffer<int32_t> first(1);
  ASSERT_EQ((run(top_kernel<float, int32_t>, {1}, kTopThreads, 0, small.data(), (float *)nullptr, first.data(), 3, 1)),
            "");
  EXPECT_EQ(first[0], 1);
}

} // namespace
