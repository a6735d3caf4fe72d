// int8 products and the quantization of rows: integers equal to those of plain
// loops, on every level this CPU has, floats within rounding.
#include "IntegerFixture.h"

#include "llmopt/CodeGen/CPU/Int8.h"

using namespace llmopt::cpu;

namespace {

class Int8Test : public KernelTest {};
LLMOPT_FOR_INTEGER_LEVELS(Int8Test);

/// The layouts of Int8.h, written down once more.
std::vector<uint8_t> pack(const TargetInfo &target, const std::vector<int8_t> &w, int64_t n, int64_t k) {
  const int64_t nr = gemmInt8NR(target), panels = (n + nr - 1) / nr;
  const bool quads = gemmInt8Layout(target) == Int8Layout::Quads;
  const int64_t group = quads ? 4 : 2, entries = (k + group - 1) / group + (quads ? 1 : 0);
  std::vector<uint8_t> packed(panels * entries * nr * group);
  for (int64_t j = 0; j < n; ++j) {
    uint8_t *panel = packed.data() + j / nr * entries * nr * group;
    int32_t sum = 0;
    for (int64_t i = 0; i < k; ++i) {
      sum += w[i * n + j];
      panel[((i / group + (quads ? 1 : 0)) * nr + j % nr) * group + i % group] = w[i * n + j];
    }
    sum *= -128;
    if (quads)
      memcpy(panel + j % nr * 4, &sum, 4);
  }
  return packed;
}

using Case = IntegerCase;

GemmInt8Spec makeSpec(const Case &c, const std::string &name) {
  GemmInt8Spec s;
  fillSpec(s, c, name);
  s.columnScale = Operand(6);
  return s;
}

enum class Fill { Random, Extreme, OppositeExtreme };

std::vector<int8_t> makeBytes(size_t n, uint32_t seed, Fill fill) {
  std::mt19937 rng(seed);
  std::vector<int8_t> values(n);
  for (int8_t &v : values)
    v = fill == Fill::Random    ? static_cast<int8_t>(int(rng() % 255) - 127)
        : fill == Fill::Extreme ? 127
                                : (seed % 2 ? -127 : 127);
  return values;
}

/// With scales of 1, no bias and sums below 2^24 the result is the integer.
void checkExact(const TargetInfo &target, const Case &c, const GemmInt8Spec &spec, llmopt_kernel_fn kernel, int64_t m,
                Fill fill) {
  std::vector<int8_t> a = makeBytes(m * c.k, 1, fill), w = makeBytes(c.k * c.n, 2, fill);
  std::vector<float> ones(std::max(m, c.n), 1.0f), out(m * c.n + 32, 1234.5f);
  Guarded guardedA(asBytes(a)), guardedB(pack(target, w, c.n, c.k));
  SizeFormula scratch = gemmInt8Scratch(spec, target);
  runTiles(kernel, {guardedA, ones.data(), guardedB, out.data(), nullptr, nullptr, ones.data()}, {m},
           gemmInt8Tiles(spec, target), &scratch);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < c.n; ++j) {
      int32_t sum = 0;
      for (int64_t p = 0; p < c.k; ++p)
        sum += int32_t(a[i * c.k + p]) * int32_t(w[p * c.n + j]);
      ASSERT_EQ(out[i * c.n + j], static_cast<float>(sum))
          << "row " << i << " column " << j << " M " << m << " N " << c.n << " K " << c.k;
    }
  expectUntouched(out, m * c.n, 1234.5f);
}

TEST_P(Int8Test, SumsAreExact) {
  std::vector<Case> cases = {{1, 1},    {7, 3},    {16, 16},    {33, 257}, {96, 301},
                             {200, 63}, {64, 766}, {130, 1025}, {48, 3072}};
  cases.push_back({130, 130, Activation::None, false, false, 16, 32});
  KernelLibrary library(target, [&](KernelBuilder &kb) {
    for (size_t i = 0; i < cases.size(); ++i)
      emitGemmInt8(kb, makeSpec(cases[i], "gemm" + std::to_string(i)));
  });
  for (size_t i = 0; i < cases.size(); ++i) {
    std::string name = "gemm" + std::to_string(i);
    for (int64_t m : {1, 2, 3, 5, 13, 14, 15, 29, 131})
      for (Fill fill : {Fill::Random, Fill::Extreme, Fill::OppositeExtreme})
        checkExact(target, cases[i], makeSpec(cases[i], name), library[name], m, fill);
  }
}

TEST_P(Int8Test, Epilogue) {
  const Activation all[] = {Activation::None,      Activation::Relu, Activation::GeluErf, Activation::GeluTanh,
                            Activation::GeluQuick, Activation::Tanh, Activation::Sigmoid, Activation::Silu};
  std::vector<Case> cases;
  for (Activation activation : all)
    for (bool residual : {false, true})
      cases.push_back({50, 70, activation, true, residual});
  KernelLibrary library(target, [&](KernelBuilder &kb) {
    for (size_t i = 0; i < cases.size(); ++i)
      emitGemmInt8(kb, makeSpec(cases[i], "gemm" + std::to_string(i)));
  });
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case &c = cases[i];
    const int64_t m = 17;
    GemmInt8Spec spec = makeSpec(c, "gemm" + std::to_string(i));
    std::vector<int8_t> a = makeBytes(m * c.k, 3, Fill::Random), w = makeBytes(c.k * c.n, 4, Fill::Random);
    auto rowScale = randomVector(m, 5, 0.001f, 0.01f), columnScale = randomVector(c.n, 6, 0.001f, 0.01f),
         bias = randomVector(c.n, 7), residual = randomVector(m * c.n, 8);
    std::vector<float> out = residual; // where it is used it may be C itself
    Guarded guardedScale(columnScale), guardedBias(bias), guardedRows(rowScale);
    SizeFormula scratch = gemmInt8Scratch(spec, target);
    std::vector<uint8_t> packed = pack(target, w, c.n, c.k);
    runTiles(library[spec.name],
             {a.data(), guardedRows, packed.data(), out.data(), guardedBias, out.data(), guardedScale}, {m},
             gemmInt8Tiles(spec, target), &scratch);
    std::vector<double> expected = finishReference(c, m, bias, residual, [&](int64_t r, int64_t j) {
      int32_t sum = 0;
      for (int64_t p = 0; p < c.k; ++p)
        sum += int32_t(a[r * c.k + p]) * int32_t(w[p * c.n + j]);
      return double(sum) * (double(rowScale[r]) * columnScale[j]);
    });
    EXPECT_LT(relativeError(out.data(), expected), 2e-6) << "activation " << int(c.activation);
  }
}

// One scale and a zero point for all rows; -128 is a number like any other.
TEST_P(Int8Test, ZeroPoint) {
  const std::vector<std::pair<int64_t, int64_t>> sizes = {{1, 1}, {7, 3}, {33, 257}, {130, 1025}};
  auto makeZeroSpec = [&](size_t i) {
    GemmInt8Spec spec = makeSpec({sizes[i].first, sizes[i].second}, "gemm" + std::to_string(i));
    spec.oneScale = true;
    spec.zeroPoint = Operand(7);
    spec.columnSums = Operand(8);
    return spec;
  };
  KernelLibrary library(target, [&](KernelBuilder &kb) {
    for (size_t i = 0; i < sizes.size(); ++i)
      emitGemmInt8(kb, makeZeroSpec(i));
  });
  for (size_t i = 0; i < sizes.size(); ++i) {
    auto [n, k] = sizes[i];
    GemmInt8Spec spec = makeZeroSpec(i);
    SizeFormula scratch = gemmInt8Scratch(spec, target);
    for (int64_t m : {1, 3, 15, 29})
      for (int zero : {-128, -3, 127})
        for (bool extreme : {false, true}) {
          std::vector<int8_t> a = makeBytes(m * k, 1, Fill::Random), w = makeBytes(k * n, 2, Fill::Random);
          if (extreme) {
            std::fill(a.begin(), a.end(), int8_t(zero < 0 ? 127 : -128));
            std::fill(w.begin(), w.end(), int8_t(-128));
          }
          std::vector<int32_t> sums(n);
          for (int64_t p = 0; p < k; ++p)
            for (int64_t j = 0; j < n; ++j)
              sums[j] += w[p * n + j];
          std::vector<float> ones(n, 1.0f);
          float scale = 0.5f;
          auto zeroPoint = int8_t(zero);
          std::vector<uint8_t> sumBytes(n * 4);
          memcpy(sumBytes.data(), sums.data(), sumBytes.size());
          std::vector<float> out(m * n + 32, 1234.5f);
          Guarded guardedA(asBytes(a)), guardedB(pack(target, w, n, k)), guardedSums(sumBytes);
          runTiles(library[spec.name],
                   {guardedA, &scale, guardedB, out.data(), nullptr, nullptr, ones.data(), &zeroPoint, guardedSums},
                   {m}, gemmInt8Tiles(spec, target), &scratch);
          for (int64_t r = 0; r < m; ++r)
            for (int64_t j = 0; j < n; ++j) {
              int32_t sum = 0;
              for (int64_t p = 0; p < k; ++p)
                sum += (int32_t(a[r * k + p]) - zero) * int32_t(w[p * n + j]);
              ASSERT_EQ(out[r * n + j], static_cast<float>(sum) * scale)
                  << "row " << r << " column " << j << " M " << m << " N " << n << " K " << k << " zero " << zero;
            }
          ASSERT_EQ(out[m * n], 1234.5f) << "wrote behind C, M " << m << " N " << n;
        }
  }
}

TEST_P(Int8Test, QuantizeTensor) {
  for (int64_t width : {1, 3, 16, 37, 129})
    for (bool narrow : {false, true})
      for (bool hasZero : {false, true}) {
        QuantizeTensorSpec spec;
        spec.name = "quantize";
        spec.rows = Size::dim(0);
        spec.width = width;
        spec.x = Operand(0);
        spec.scale = Operand(1);
        spec.q = Operand(2);
        if (hasZero)
          spec.zeroPoint = Operand(3);
        spec.narrow = narrow;
        KernelLibrary library(target, [&](KernelBuilder &kb) { emitQuantizeTensor(kb, spec); });
        const int64_t m = 9;
        for (int zero : {-128, -5, 0, 127}) {
          float scale = 0.25f;
          std::vector<float> x = randomVector(m * width, 12, -40, 40);
          for (int64_t i = 0; i < width; ++i)
            x[width + i] = (float(i % 128) - 63.5f) * scale; // ties
          x[2 * width] = NAN;
          x[3 * width] = INFINITY;
          x[4 * width] = -INFINITY;
          x[5 * width] = 3e38f;
          std::vector<uint8_t> q(m * width + 16, 77);
          auto zeroPoint = int8_t(zero);
          Guarded guarded(x);
          runTiles(library["quantize"], {guarded, &scale, q.data(), &zeroPoint}, {m}, quantizeTensorTiles(spec));
          const double lowest = narrow ? -127 : -128;
          for (int64_t i = 0; i < m * width; ++i) {
            double v = std::nearbyint(x[i] / scale) + (hasZero ? zero : 0);
            v = std::isnan(v) ? lowest : std::min(127.0, std::max(lowest, v));
            ASSERT_EQ(int(static_cast<int8_t>(q[i])), int(v)) << "element " << i << " of " << x[i] << " zero " << zero;
          }
          EXPECT_EQ(int(q[m * width]), 77) << "wrote behind q, width " << width;
        }
      }
}

TEST_P(Int8Test, QuantizeRows) {
  for (int64_t width : {1, 3, 16, 32, 37, 64, 128, 769}) {
    QuantizeRowsSpec spec;
    spec.name = "quantize";
    spec.rows = Size::dim(0);
    spec.width = width;
    spec.x = Operand(0);
    spec.q = Operand(1);
    spec.scale = Operand(2);
    KernelLibrary library(target, [&](KernelBuilder &kb) { emitQuantizeRows(kb, spec); });
    const int64_t m = 23;
    std::vector<float> x = randomVector(m * width, 11, -3, 3);
    for (int64_t i = 0; i < width; ++i) {
      x[i] = 0;                              // a row of zeros
      x[width + i] = float(i % 128) - 63.5f; // ties, the scale being a power of two
      x[2 * width + i] *= 1e-43f;            // subnormal scales
      x[3 * width + i] *= 1e38f;
    }
    x[width] = 127; // scale 1
    x[4 * width + width / 2] = NAN;
    x[5 * width + width - 1] = -INFINITY;
    std::vector<uint8_t> q(m * width + 16, 77);
    std::vector<float> scale(m + 1, 1234.5f);
    Guarded guarded(x);
    runTiles(library["quantize"], {guarded, q.data(), scale.data()}, {m}, quantizeRowsTiles(spec));
    for (int64_t r = 0; r < m; ++r) {
      if (r == 4 || r == 5) {
        EXPECT_TRUE(std::isnan(scale[r])) << "row " << r;
        continue;
      }
      float largest = 0;
      for (int64_t i = 0; i < width; ++i)
        largest = std::max(largest, std::fabs(x[r * width + i]));
      float s = largest == 0 ? 1 : static_cast<float>(double(largest) / 127.0);
      ASSERT_EQ(scale[r], s) << "row " << r << " width " << width;
      for (int64_t i = 0; i < width; ++i) {
        double v = std::nearbyint(static_cast<float>(double(x[r * width + i]) / s));
        v = std::isnan(v) ? -127 : std::min(127.0, std::max(-127.0, v));
        ASSERT_EQ(int(static_cast<int8_t>(q[r * width + i])), int(v)) << "row " << r << " element " << i;
      }
    }
    EXPECT_EQ(scale[m], 1234.5f);
    EXPECT_EQ(int(q[m * width]), 77) << "wrote behind q, width " << width;
  }
}

// Elements next to a tie of their quotient, for scales of every mantissa: the quotient must
// be rounded as a division rounds it.
TEST_P(Int8Test, QuantizeRowsNextToTies) {
  for (int64_t width : {381, 32}) { // 127 ties and their neighbours, in one row or several
    const int64_t m = 4000 * (width == 32 ? 12 : 1);
    QuantizeRowsSpec spec;
    spec.name = "quantize";
    spec.rows = Size::dim(0);
    spec.width = width;
    spec.x = Operand(0);
    spec.q = Operand(1);
    spec.scale = Operand(2);
    KernelLibrary library(target, [&](KernelBuilder &kb) { emitQuantizeRows(kb, spec); });
    std::mt19937 rng(3);
    std::vector<float> x(m * width), scale(m);
    for (int64_t r = 0; r < m; ++r) {
      float largest = std::ldexp(1 + float(rng() >> 9) * 0x1p-23f, int(rng() % 160) - 80), *row = &x[r * width];
      float s = static_cast<float>(double(largest) / 127.0);
      for (int64_t i = 0; i + 3 <= width; i += 3) {
        float tie = static_cast<float>((double(rng() % 126) + 0.5) * s);
        row[i] = std::nextafter(tie, 0.0f);
        row[i + 1] = -tie;
        row[i + 2] = std::nextafter(tie, largest);
      }
      row[width / 2] = r % 2 ? largest : -largest;
    }
    std::vector<int8_t> q(m * width);
    runTiles(library["quantize"], {x.data(), q.data(), scale.data()}, {m}, quantizeRowsTiles(spec));
    for (int64_t r = 0; r < m; ++r)
      for (int64_t i = 0; i < width; ++i) {
        float quotient = x[r * width + i] / scale[r];
        ASSERT_EQ(int(q[r * width + i]), int(std::nearbyint(quotient)))
            << x[r * width + i] << " / " << scale[r] << " = " << quotient;
      }
  }
}

} // namespace
