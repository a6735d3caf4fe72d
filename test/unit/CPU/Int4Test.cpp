// Products with int4 weights: by int8 rows, and by floats; and int8 weights by floats.
// References are plain f64 loops over what the packed weights stand for.
#include "Assembly.h"
#include "IntegerFixture.h"

#include "llmopt/CodeGen/CPU/Gemm.h"
#include "llmopt/CodeGen/CPU/Int4.h"
#include "llmopt/CodeGen/CPU/Int8.h"

using namespace llmopt::cpu;

namespace {

class Int4Test : public KernelTest {};
LLMOPT_FOR_INTEGER_LEVELS(Int4Test);

/// A weight [K, N]: stored nibbles u, scales and zero points of every group.
struct Weight {
  int64_t n, k, group;
  bool zeroPoints;
  int64_t offset;
  std::vector<int> u, zero; // [K, N], [K/G, N]
  std::vector<float> scale; // [K/G, N]

  Weight(int64_t n, int64_t k, int64_t group, bool zeroPoints, int64_t offset, uint32_t seed)
      : n(n), k(k), group(group), zeroPoints(zeroPoints), offset(offset), u(n * k), zero(n * k / group, int(offset)) {
    std::mt19937 rng(seed);
    for (int &x : u)
      x = rng() % 16;
    if (zeroPoints)
      for (int &z : zero)
        z = rng() % 16;
    scale = randomVector(zero.size(), seed + 1, 0.01f, 0.1f);
    for (int64_t i = 0; i < group; ++i) // extremes and a group of zeros
      u[i * n] = 15, u[(k - 1 - i) * n + n - 1] = int(zero[(k / group - 1) * n + n - 1]);
  }
  int64_t at(int64_t k, int64_t j) const { return k / group * n + j; }
  double value(int64_t k, int64_t j) const { return double(u[k * n + j] - zero[at(k, j)]) * scale[at(k, j)]; }

  /// The layout of kernel.pack_groups, written down once more.
  std::vector<uint8_t> pack(const TargetInfo &target) const {
    const int64_t nr = target.gemmNR(), panels = (n + nr - 1) / nr, groups = k / group;
    const int64_t header = nr * (zeroPoints ? 8 : 4), block = header + nr * group / 2;
    std::vector<uint8_t> packed(panels * groups * block);
    for (int64_t j = 0; j < n; ++j)
      for (int64_t g = 0; g < groups; ++g) {
        uint8_t *to = packed.data() + (j / nr * groups + g) * block;
        float s = scale[g * n + j], z = float(zero[g * n + j]);
        memcpy(to + j % nr * 4, &s, 4);
        if (zeroPoints)
          memcpy(to + (nr + j % nr) * 4, &z, 4);
        for (int64_t i = 0; i < group; ++i)
          to[header + (i / 8 * nr + j % nr) * 4 + i % 4] |= u[(g * group + i) * n + j] << (i % 8 < 4 ? 0 : 4);
      }
    return packed;
  }
};

struct Case {
  int64_t n, k, group;
  bool zeroPoints = false;
  int64_t offset = 8;
  bool perGroup = true;
  Activation activation = Activation::None;
  bool bias = false, residual = false;
  int64_t mBlock = 0, nBlock = 0;

  IntegerCase common() const { return {n, k, activation, bias, residual, mBlock, nBlock}; }
};

GemmInt4Spec makeSpec(const Case &c, const std::string &name) {
  GemmInt4Spec s;
  fillSpec(s, c.common(), name);
  s.group = c.group;
  s.offset = c.offset;
  s.zeroPoints = c.zeroPoints;
  s.scalePerGroup = c.perGroup;
  return s;
}

std::vector<int8_t> makeRows(int64_t m, int64_t k, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<int8_t> values(m * k);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = i / k == 1 ? 127 : i / k == 2 ? 0 : static_cast<int8_t>(int(rng() % 255) - 127);
  return values;
}

void check(const TargetInfo &target, const Case &c, const GemmInt4Spec &spec, llmopt_kernel_fn kernel, int64_t m) {
  Weight w(c.n, c.k, c.group, c.zeroPoints, c.offset, 7);
  const int64_t groups = c.k / c.group, perRow = c.perGroup ? groups : 1;
  std::vector<int8_t> a = makeRows(m, c.k, 1);
  auto rowScale = randomVector(m * perRow, 5, 0.001f, 0.01f), bias = randomVector(c.n, 6),
       residual = randomVector(m * c.n, 8);
  if (m > 3)
    rowScale[3 * perRow] = NAN; // a row that held no numbers
  std::vector<float> out(m * c.n + 32, 1234.5f);
  if (c.residual)
    std::copy(residual.begin(), residual.end(), out.begin());
  Guarded guardedA(asBytes(a)), guardedB(w.pack(target)), guardedScale(rowScale), guardedBias(bias);
  SizeFormula scratch = gemmInt4Scratch(spec, target);
  runTiles(kernel, {guardedA, guardedScale, guardedB, out.data(), guardedBias, out.data()}, {m},
           gemmInt4Tiles(spec, target), &scratch);
  std::vector<double> expected = finishReference(c.common(), m, bias, residual, [&](int64_t r, int64_t j) {
    double y = 0;
    for (int64_t g = 0; g < groups; ++g) {
      int64_t sum = 0;
      for (int64_t k = g * c.group; k < (g + 1) * c.group; ++k)
        sum += int64_t(a[r * c.k + k]) * (w.u[k * c.n + j] - w.zero[g * c.n + j]);
      y += double(rowScale[r * perRow + (c.perGroup ? g : 0)]) * w.scale[g * c.n + j] * double(sum);
    }
    return y;
  });
  EXPECT_LT(relativeError(out.data(), expected), 2e-6)
      << "M " << m << " N " << c.n << " K " << c.k << " G " << c.group << " zero " << c.zeroPoints;
  expectUntouched(out, m * c.n, 1234.5f);
}

TEST_P(Int4Test, Int8Rows) {
  std::vector<Case> cases = {{1, 32, 32},
                             {16, 32, 32},
                             {33, 96, 32},
                             {200, 64, 64},
                             {37, 256, 128},
                             {96, 768, 32},
                             {64, 192, 96},
                             {50, 512, 256},
                             {37, 256, 64, true},
                             {48, 96, 32, true, 0},
                             {40, 128, 64, false, 0},
                             {40, 128, 64, false, 8, false},
                             {33, 96, 32, true, 8, false},
                             {50, 512, 256, true},    // beside one without zero points
                             {40, 1056, 32, true},    // parts of unequal size
                             {33, 2560, 2560, true}}; // sums beyond what bits of floats hold
  cases.push_back({130, 128, 32, false, 8, true, Activation::None, false, false, 16, 32});
  for (Activation activation : {Activation::Relu, Activation::GeluErf, Activation::Silu})
    cases.push_back({50, 64, 32, false, 8, true, activation, true, true});
  KernelLibrary library(target, [&](KernelBuilder &kb) {
    for (size_t i = 0; i < cases.size(); ++i)
      emitGemmInt4(kb, makeSpec(cases[i], "gemm" + std::to_string(i)));
  });
  for (size_t i = 0; i < cases.size(); ++i) {
    std::string name = "gemm" + std::to_string(i);
    for (int64_t m : {1, 2, 3, 4, 5, 9, 17, 131})
      check(target, cases[i], makeSpec(cases[i], name), library[name], m);
  }
}

// With power-of-two scales every step is exact: integers must be those of plain loops.
TEST_P(Int4Test, GroupSumsAreExact) {
  for (int64_t group : {32, 128})
    for (bool zero : {false, true}) {
      const int64_t n = 40, k = 256;
      Weight w(n, k, group, zero, 8, 3);
      std::fill(w.scale.begin(), w.scale.end(), 0.5f);
      GemmInt4Spec spec = makeSpec({n, k, group, zero}, "gemm");
      KernelLibrary library(target, [&](KernelBuilder &kb) { emitGemmInt4(kb, spec); });
      std::vector<uint8_t> packed = w.pack(target);
      SizeFormula scratch = gemmInt4Scratch(spec, target);
      for (int64_t m : {3, 7, 30}) {
        std::vector<int8_t> a = makeRows(m, k, 9);
        std::vector<float> twos(m * k / group, 2.0f), out(m * n);
        runTiles(library["gemm"], {a.data(), twos.data(), packed.data(), out.data()}, {m}, gemmInt4Tiles(spec, target),
                 &scratch);
        for (int64_t r = 0; r < m; ++r)
          for (int64_t j = 0; j < n; ++j) {
            int64_t sum = 0;
            for (int64_t p = 0; p < k; ++p)
              sum += int64_t(a[r * k + p]) * (w.u[p * n + j] - w.zero[w.at(p, j)]);
            ASSERT_EQ(out[r * n + j], float(sum)) << "row " << r << " column " << j << " zero points " << zero;
          }
      }
    }
}

// A row gives the same bits whatever is beside it: few rows and many take different ways,
// and so do scales that are huge or no numbers.
TEST_P(Int4Test, BitsDoNotDependOnOtherRows) {
  const int64_t n = 70, k = 320, m = 40;
  for (int64_t group : {32, 64})
    for (bool perGroup : {true, false}) {
      Weight w(n, k, group, false, 8, 5);
      GemmInt4Spec spec = makeSpec({n, k, group, false, 8, perGroup}, "gemm");
      KernelLibrary library(target, [&](KernelBuilder &kb) { emitGemmInt4(kb, spec); });
      std::vector<int8_t> a = makeRows(m, k, 9);
      const int64_t perRow = perGroup ? k / group : 1;
      auto scales = randomVector(m * perRow, 5, 0.001f, 0.01f);
      std::vector<uint8_t> packed = w.pack(target);
      SizeFormula scratch = gemmInt4Scratch(spec, target);
      auto run = [&](int64_t first, int64_t rows, const std::vector<float> &scales) {
        std::vector<float> out(rows * n);
        runTiles(library["gemm"],
                 {a.data() + first * k, const_cast<float *>(scales.data()) + first * perRow, packed.data(), out.data()},
                 {rows}, gemmInt4Tiles(spec, target), &scratch);
        return out;
      };
      std::vector<float> all = run(0, m, scales);
      for (float odd : {1e36f, INFINITY, NAN}) {
        std::vector<float> others = scales;
        others[(m - 1) * perRow] = odd;
        std::vector<float> beside = run(0, m, others);
        for (int64_t i = 0; i < (m - 1) * n; ++i)
          ASSERT_EQ(all[i], beside[i]) << "row " << i / n << " beside a scale of " << odd;
      }
      for (int64_t r = 0; r < m; ++r) {
        std::vector<float> one = run(r, 1, scales);
        for (int64_t j = 0; j < n; ++j)
          ASSERT_EQ(all[r * n + j], one[j]) << "row " << r << " column " << j << " group " << group;
      }
    }
}

struct FloatCase {
  int64_t n, k, group; // group 0: int8
  bool zeroPoints = false;
  int64_t offset = 8;
  Activation activation = Activation::None;
  bool bias = false, residual = false;
  int64_t mBlock = 0, nBlock = 0;
};

GemmSpec makeFloatSpec(const FloatCase &c, const std::string &name) {
  GemmSpec s;
  s.name = name;
  s.m = Size::dim(0);
  s.n = s.ldc = s.ldResidual = c.n;
  s.k = s.lda = c.k;
  s.a = Operand(0);
  s.b = Operand(1);
  s.c = Operand(2);
  s.quantizedB = QuantizedB{c.group, c.offset, c.zeroPoints, {}};
  if (!c.group)
    s.quantizedB->columnScale = Operand(3);
  if (c.bias)
    s.bias = Operand(4);
  if (c.residual)
    s.residual = Operand(5);
  s.activation = c.activation;
  s.mBlock = c.mBlock;
  s.nBlock = c.nBlock;
  return s;
}

/// `odd`: an element of the first row.
void checkFloat(const TargetInfo &target, const FloatCase &c, const GemmSpec &spec, llmopt_kernel_fn kernel, int64_t m,
                float odd = 0.5f) {
  std::vector<float> x = randomVector(m * c.k, 11);
  x[c.k / 2] = odd;
  auto bias = randomVector(c.n, 6), residual = randomVector(m * c.n, 8),
       columnScale = randomVector(c.n, 9, 0.001f, 0.01f);
  std::vector<float> out(m * c.n + 32, 1234.5f);
  if (c.residual)
    std::copy(residual.begin(), residual.end(), out.begin());
  std::vector<uint8_t> packed;
  std::vector<float> values(c.k * c.n); // rounded to f32, as lm.dequantize gives them
  if (c.group) {
    Weight w(c.n, c.k, c.group, c.zeroPoints, c.offset, 7);
    packed = w.pack(target);
    for (int64_t i = 0; i < c.k * c.n; ++i)
      values[i] = float(w.value(i / c.n, i % c.n));
  } else {
    const int64_t nr = target.gemmNR();
    packed.resize((c.n + nr - 1) / nr * nr * c.k);
    std::mt19937 rng(5);
    for (int64_t i = 0; i < c.k * c.n; ++i) {
      int8_t q = int8_t(int(rng() % 255) - 127);
      int64_t p = i / c.n, j = i % c.n;
      packed[(j / nr * c.k + p) * nr + j % nr] = uint8_t(q);
      values[i] = float(double(q) * columnScale[j]);
    }
  }
  Guarded guardedX(x), guardedB(packed), guardedScale(columnScale), guardedBias(bias);
  SizeFormula scratch = gemmScratch(spec, target);
  runTiles(kernel, {guardedX, guardedB, out.data(), guardedScale, guardedBias, out.data()}, {m},
           gemmTiles(spec, target), &scratch);
  std::vector<double> expected;
  for (int64_t r = 0; r < m; ++r)
    for (int64_t j = 0; j < c.n; ++j) {
      double y = 0;
      for (int64_t p = 0; p < c.k; ++p)
        y += double(x[r * c.k + p]) * values[p * c.n + j];
      y += c.bias ? bias[j] : 0;
      expected.push_back(activationReference(c.activation, y) + (c.residual ? residual[r * c.n + j] : 0));
    }
  EXPECT_LT(relativeError(out.data(), expected), 5e-6)
      << "M " << m << " N " << c.n << " K " << c.k << " G " << c.group << " zero " << c.zeroPoints << " odd " << odd;
  for (size_t i = m * c.n; i < out.size(); ++i)
    ASSERT_EQ(out[i], 1234.5f) << "wrote behind C, M " << m << " N " << c.n;
}

TEST_P(Int4Test, FloatRows) {
  std::vector<FloatCase> cases = {{1, 32, 32},    {33, 96, 32},        {37, 768, 128},        {96, 512, 64},
                                  {50, 512, 256}, {37, 256, 64, true}, {40, 96, 32, true, 0}, {40, 128, 64, false, 0},
                                  {1, 1, 0},      {33, 37, 0},         {200, 770, 0}};
  cases.push_back({130, 128, 32, false, 8, Activation::None, false, false, 2, 32});
  for (int64_t group : {0, 32})
    cases.push_back({50, 64, group, false, 8, Activation::GeluErf, true, true});
  KernelLibrary library(target, [&](KernelBuilder &kb) {
    for (size_t i = 0; i < cases.size(); ++i)
      emitGemm(kb, makeFloatSpec(cases[i], "gemm" + std::to_string(i)));
  });
  for (size_t i = 0; i < cases.size(); ++i) {
    std::string name = "gemm" + std::to_string(i);
    for (int64_t m : {1, 2, 3, 4, 17, 131})
      checkFloat(target, cases[i], makeFloatSpec(cases[i], name), library[name], m);
    for (float odd : {INFINITY, -INFINITY, NAN, 1e-40f})
      for (int64_t m : {1, 3, 5})
        if (cases[i].activation == Activation::None)
          checkFloat(target, cases[i], makeFloatSpec(cases[i], name), library[name], m, odd);
  }
}

TEST_P(Int4Test, RegistersSuffice) {
  QuantizeRowsSpec quantize;
  quantize.name = "quantize";
  quantize.rows = Size::dim(0);
  quantize.width = 32;
  quantize.x = Operand(0);
  quantize.q = Operand(1);
  quantize.scale = Operand(2);
  GemmInt8Spec int8;
  fillSpec(int8, {64, 256}, "gemm_int8");
  int8.columnScale = Operand(6);
  for (int64_t group : {32, 128}) {
    llvm::SmallVector<char> text = KernelLibrary::compile(target, Emit::Asm, [&](KernelBuilder &kb) {
      emitGemmInt4(kb, makeSpec({64, 256, group}, "gemm"));
      emitGemmInt4(kb, makeSpec({64, 512, group, false, 8, false}, "gemm_token"));
      emitGemm(kb, makeFloatSpec({64, 256, group}, "gemm_float"));
      emitGemmInt8(kb, int8);
      emitQuantizeRows(kb, quantize);
    });
    std::string assembly(text.begin(), text.end());
    size_t multiplies = 0;
    for (const char *name : {"pmaddubsw", "vpdpbusd", "pmullw"})
      for (size_t at = assembly.find(name); at != std::string::npos; at = assembly.find(name, at + 1))
        ++multiplies;
    EXPECT_GT(multiplies, 0u);
    for (const std::string &line : findSpills(assembly))
      ADD_FAILURE() << "group " << group << ": " << line;
    // Sums of many rows leave registers through no memory but that of the sums.
    int functions = 0;
    for (const std::string &line : findSpillsIn(assembly, "gemm_w4a8_unpacked", functions))
      ADD_FAILURE() << "group " << group << ": " << line;
    EXPECT_EQ(functions > 2, hasByteDotProduct(target));
  }
}

} // namespace
