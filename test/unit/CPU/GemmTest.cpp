// Matrix multiplication against a plain f64 loop.
#include "Fixture.h"

#include "llmopt/CodeGen/CPU/Gemm.h"
#include "llmopt/CodeGen/CPU/Packing.h"

using namespace llmopt::cpu;

namespace {

class GemmTest : public KernelTest {};
LLMOPT_FOR_ALL_LEVELS(GemmTest);

struct Case {
  int64_t n, k;
  Activation activation = Activation::None;
  bool bias = true, residual = false;
  double alpha = 1.0;
  int64_t padding = 0; // extra elements per row of A, C and the residual
  int64_t mBlock = 0, nBlock = 0;
  bool sourceIsNK = false;
};

GemmSpec makeSpec(const Case &c, const std::string &name) {
  GemmSpec s;
  s.name = name;
  s.m = Size::dim(0);
  s.n = c.n;
  s.k = c.k;
  s.a = Operand(0, 3);
  s.b = Operand(1);
  s.c = Operand(2, Size::dim(1));
  if (c.bias)
    s.bias = Operand(3);
  if (c.residual)
    s.residual = Operand(4);
  s.lda = c.k + c.padding;
  s.ldc = Size::dim(2);
  s.ldResidual = c.n + c.padding;
  s.alpha = c.alpha;
  s.activation = c.activation;
  s.mBlock = c.mBlock;
  s.nBlock = c.nBlock;
  return s;
}

void check(const TargetInfo &target, const Case &c, const GemmSpec &spec,
           llmopt_kernel_fn kernel, int64_t m) {
  const int64_t lda = c.k + c.padding, ldc = c.n + c.padding, offsetC = 5;
  auto a = randomVector(3 + std::max<int64_t>(0, (m - 1) * lda + c.k), 1);
  auto b = randomVector(c.n * c.k, 2);
  auto bias = randomVector(c.n, 3);
  auto residual = randomVector((m - 1) * ldc + c.n, 4);
  const float sentinel = 1234.5f;
  std::vector<float> out(offsetC + m * ldc + 64, sentinel);

  PanelLayout layout = PanelLayout::forGemm(target, c.n, c.k);
  std::vector<float> packed(layout.bytes() / 4, NAN);
  packB(layout, b.data(), c.sourceIsNK ? 1 : c.n, c.sourceIsNK ? c.k : 1,
        packed.data());

  SizeFormula scratch = gemmScratch(spec, target);
  Guarded guardedA(a), guardedB(packed), guardedBias(bias),
      guardedResidual(residual);
  runTiles(kernel,
           {guardedA, guardedB, out.data(), guardedBias, guardedResidual},
           {m, offsetC, ldc}, gemmTiles(spec, target), &scratch);

  std::vector<double> expected;
  std::vector<float> actual;
  std::vector<bool> written(out.size(), false);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < c.n; ++j) {
      double sum = 0;
      for (int64_t p = 0; p < c.k; ++p)
        sum += double(a[3 + i * lda + p]) *
               (c.sourceIsNK ? b[j * c.k + p] : b[p * c.n + j]);
      sum = c.alpha * sum + (c.bias ? bias[j] : 0);
      sum = activationReference(c.activation, sum) +
            (c.residual ? residual[i * ldc + j] : 0);
      expected.push_back(sum);
      actual.push_back(out[offsetC + i * ldc + j]);
      written[offsetC + i * ldc + j] = true;
    }
  EXPECT_LT(relativeError(actual.data(), expected), 2e-6)
      << "M " << m << " N " << c.n << " K " << c.k << " act "
      << int(c.activation);
  for (size_t i = 0; i < out.size(); ++i)
    if (!written[i])
      ASSERT_EQ(out[i], sentinel)
          << "wrote outside C at " << i << ", M " << m << " N " << c.n;
}

TEST_P(GemmTest, PackedB) {
  const Activation all[] = {Activation::Relu,     Activation::GeluErf,
                            Activation::GeluTanh, Activation::GeluQuick,
                            Activation::Tanh,     Activation::Sigmoid,
                            Activation::Silu};
  std::vector<Case> cases = {{1, 1},    {7, 3},    {16, 16},  {33, 257},
                             {96, 300}, {200, 64}, {768, 768}};
  for (Activation a : all)
    cases.push_back({50, 70, a, true, true});
  cases.push_back({40, 600, Activation::GeluErf, false, true, 0.125, 9});
  cases.push_back(
      {130, 520, Activation::None, true, true, 1.0, 4, 32, 64, true});
  cases.push_back(
      {48, 1024, Activation::Silu, false, false, 2.0, 0, 16, 48, true});
  KernelLibrary library(target, [&](KernelBuilder &kb) {
    for (size_t i = 0; i < cases.size(); ++i)
      emitGemm(kb, makeSpec(cases[i], "gemm" + std::to_string(i)));
  });
  for (size_t i = 0; i < cases.size(); ++i) {
    std::string name = "gemm" + std::to_string(i);
    for (int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 13, 14, 15, 29, 128, 131})
      check(target, cases[i], makeSpec(cases[i], name), library[name], m);
  }
}

TEST_P(GemmTest, ResidualInPlace) {
  Case c{40, 300, Activation::None, true, true};
  GemmSpec spec = makeSpec(c, "gemm");
  spec.c = Operand(2);
  spec.residual = Operand(2);
  spec.a = Operand(0);
  spec.ldc = spec.ldResidual = 40;
  KernelLibrary library(target, [&](KernelBuilder &kb) { emitGemm(kb, spec); });
  int64_t m = 20;
  auto a = randomVector(m * 300, 1), b = randomVector(40 * 300, 2),
       bias = randomVector(40, 3), c0 = randomVector(m * 40, 4);
  auto inOut = c0;
  PanelLayout layout = PanelLayout::forGemm(target, 40, 300);
  std::vector<float> packed(layout.bytes() / 4);
  packB(layout, b.data(), 40, 1, packed.data());
  SizeFormula scratch = gemmScratch(spec, target);
  runTiles(library["gemm"],
           {a.data(), packed.data(), inOut.data(), bias.data()}, {m},
           gemmTiles(spec, target), &scratch);
  std::vector<double> expected;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < 40; ++j) {
      double sum = bias[j] + c0[i * 40 + j];
      for (int64_t p = 0; p < 300; ++p)
        sum += double(a[i * 300 + p]) * b[p * 40 + j];
      expected.push_back(sum);
    }
  EXPECT_LT(relativeError(inOut.data(), expected), 2e-6);
}

// Bits of a row must not depend on how many other rows there are.
TEST_P(GemmTest, RowsAreIndependent) {
  Case c{96, 520, Activation::GeluErf};
  GemmSpec spec = makeSpec(c, "gemm");
  KernelLibrary library(target, [&](KernelBuilder &kb) { emitGemm(kb, spec); });
  auto a = randomVector(3 + 40 * 520, 1), b = randomVector(96 * 520, 2),
       bias = randomVector(96, 3);
  PanelLayout layout = PanelLayout::forGemm(target, 96, 520);
  std::vector<float> packed(layout.bytes() / 4);
  packB(layout, b.data(), 96, 1, packed.data());
  SizeFormula scratch = gemmScratch(spec, target);
  std::vector<float> many(40 * 96), one(96);
  runTiles(library["gemm"], {a.data(), packed.data(), many.data(), bias.data()},
           {40, 0, 96}, gemmTiles(spec, target), &scratch);
  for (int64_t i = 0; i < 40; ++i) {
    runTiles(library["gemm"],
             {a.data() + i * 520, packed.data(), one.data(), bias.data()},
             {1, 0, 96}, gemmTiles(spec, target), &scratch);
    ASSERT_EQ(memcmp(one.data(), many.data() + i * 96, 96 * 4), 0)
        << "row " << i;
  }
}

// Both operands are activations, two batch dimensions (one broadcast for B).
TEST_P(GemmTest, Batched) {
  for (bool transA : {false, true})
    for (bool transB : {false, true}) {
      GemmSpec spec;
      spec.name = "matmul";
      spec.packedB = false;
      spec.transA = transA;
      spec.transB = transB;
      spec.m = Size::dim(2);
      spec.n = Size::dim(3);
      spec.k = Size::dim(4);
      spec.a = Operand(0);
      spec.b = Operand(1);
      spec.c = Operand(2);
      spec.alpha = 0.5;
      spec.lda = Size::dim(transA ? 2 : 4);
      spec.ldb = Size::dim(transB ? 4 : 3);
      spec.ldc = Size::dim(3);
      spec.batch = {
          {Size::dim(0), Size::dim(5), Size(0), Size::dim(7), Size(0)},
          {Size::dim(1), Size::dim(6), Size::dim(8), Size::dim(9), Size(0)}};
      KernelLibrary library(target,
                            [&](KernelBuilder &kb) { emitGemm(kb, spec); });
      struct Shape {
        int64_t m, n, k;
      };
      for (Shape s : {Shape{1, 1, 1},
                      {5, 7, 3},
                      {13, 40, 17},
                      {37, 33, 300},
                      {130, 20, 64},
                      {4, 150, 16},
                      {3, 5, 0}}) {
        const int64_t b0 = 2, b1 = 3;
        auto a = randomVector(b0 * b1 * s.m * s.k, 1),
             b = randomVector(b1 * s.k * s.n, 2);
        std::vector<float> c(b0 * b1 * s.m * s.n, NAN);
        Guarded guardedA(a), guardedB(b), guardedC(c);
        SizeFormula scratch = gemmScratch(spec, target);
        runTiles(library["matmul"], {guardedA, guardedB, guardedC},
                 {b0, b1, s.m, s.n, s.k, b1 * s.m * s.k, s.m * s.k,
                  b1 * s.m * s.n, s.k * s.n, s.m * s.n},
                 gemmTiles(spec, target), &scratch);
        std::vector<double> expected;
        for (int64_t i0 = 0; i0 < b0; ++i0)
          for (int64_t i1 = 0; i1 < b1; ++i1)
            for (int64_t i = 0; i < s.m; ++i)
              for (int64_t j = 0; j < s.n; ++j) {
                const float *pa = a.data() + (i0 * b1 + i1) * s.m * s.k,
                            *pb = b.data() + i1 * s.k * s.n;
                double sum = 0;
                for (int64_t p = 0; p < s.k; ++p)
                  sum += double(transA ? pa[p * s.m + i] : pa[i * s.k + p]) *
                         (transB ? pb[j * s.k + p] : pb[p * s.n + j]);
                expected.push_back(0.5 * sum);
              }
        EXPECT_LT(relativeError(guardedC.floats(), expected), 2e-6)
            << s.m << "x" << s.n << "x" << s.k << " transA " << transA
            << " transB " << transB;
      }
    }
}

TEST(PackingTest, PiecewiseEqualsWhole) {
  PanelLayout layout{70, 21, 32};
  auto b = randomVector(70 * 21, 1);
  std::vector<float> whole(layout.bytes() / 4, NAN),
      pieces(layout.bytes() / 4, NAN);
  packB(layout, b.data(), 70, 1, whole.data());
  for (auto [first, count] :
       {std::pair<int64_t, int64_t>{0, 10}, {10, 40}, {50, 20}})
    packBColumns(layout, b.data() + first, 70, 1, first, count, pieces.data());
  EXPECT_EQ(memcmp(whole.data(), pieces.data(), layout.bytes()), 0);
  EXPECT_EQ(whole[2 * 21 * 32 + 6], 0.0f); // column 70 is padding
  EXPECT_EQ(whole[2 * 21 * 32 + 3 * 32 + 5], b[3 * 70 + 69]);
}

} // namespace
