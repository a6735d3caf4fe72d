// What tests of products of int8 rows share: levels, shapes, rows, exact references.
#ifndef LLMOPT_TEST_UNIT_CPU_INTEGERFIXTURE_H
#define LLMOPT_TEST_UNIT_CPU_INTEGERFIXTURE_H

#include "Fixture.h"

#include "llmopt/CodeGen/CPU/IntegerGemm.h"

#include <algorithm>
#include <functional>
#include <string>

namespace llmopt::cpu {

/// As LLMOPT_FOR_ALL_LEVELS, with byte dot products.
#define LLMOPT_FOR_INTEGER_LEVELS(Suite)                                                                               \
  INSTANTIATE_TEST_SUITE_P(Levels, Suite, testing::Values("x86-64", "x86-64-v3", "x86-64-v4", "cascadelake"),          \
                           nameOfLevel)
inline std::string nameOfLevel(const testing::TestParamInfo<const char *> &info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

/// What every kind of weight has.
struct IntegerCase {
  int64_t n, k;
  Activation activation = Activation::None;
  bool bias = false, residual = false;
  int64_t mBlock = 0, nBlock = 0;
};

/// Arguments 0 .. 5: rows, their scales, weights, C, bias, residual; others follow.
inline void fillSpec(IntegerGemmSpec &s, const IntegerCase &c, const std::string &name) {
  s.name = name;
  s.m = Size::dim(0);
  s.n = c.n;
  s.k = c.k;
  s.a = Operand(0);
  s.rowScale = Operand(1);
  s.b = Operand(2);
  s.c = Operand(3);
  if (c.bias)
    s.bias = Operand(4);
  if (c.residual)
    s.residual = Operand(5);
  s.activation = c.activation;
  s.mBlock = c.mBlock;
  s.nBlock = c.nBlock;
}

inline std::vector<uint8_t> asBytes(const std::vector<int8_t> &values) { return {values.begin(), values.end()}; }

/// f(sum of the products, row, column) with the activation, and the residual added.
inline std::vector<double> finishReference(const IntegerCase &c, int64_t m, const std::vector<float> &bias,
                                           const std::vector<float> &residual,
                                           const std::function<double(int64_t, int64_t)> &product) {
  std::vector<double> expected;
  for (int64_t r = 0; r < m; ++r)
    for (int64_t j = 0; j < c.n; ++j) {
      double y = product(r, j) + (c.bias ? bias[j] : 0);
      expected.push_back(activationReference(c.activation, y) + (c.residual ? residual[r * c.n + j] : 0));
    }
  return expected;
}

/// Nothing but C was written.
inline void expectUntouched(const std::vector<float> &out, size_t size, float value) {
  for (size_t i = size; i < out.size(); ++i)
    ASSERT_EQ(out[i], value) << "wrote behind C";
}

} // namespace llmopt::cpu
#endif
