// Vector math against f64 libm, in units of the last place of the f32 result.
#include "Fixture.h"

#include "llmopt/CodeGen/CPU/Gemm.h"
#include "llmopt/CodeGen/CPU/VectorMath.h"

using namespace llmopt::cpu;

namespace {

class MathTest : public KernelTest {};
LLMOPT_FOR_ALL_LEVELS(MathTest);

/// out[i] = f(x[i], y[i]) in vectors; "<name>_scalar" one element at a time.
void emitMap(KernelBuilder &kb, const std::string &name,
             llvm::function_ref<V(V, V)> f) {
  for (bool scalar : {false, true}) {
    kb.beginKernel(name + (scalar ? "_scalar" : ""));
    V n = kb.size(Size::dim(0));
    if (scalar)
      kb.loop(kb.i(0), n, 1, [&](V i) {
        kb.store(f(kb.load(kb.at(kb.arg(0), i)), kb.load(kb.at(kb.arg(1), i))),
                 kb.at(kb.arg(2), i));
      });
    else
      kb.forVectors(n, [&](V i, V mask) {
        V x = kb.loadMaybeMasked(kb.at(kb.arg(0), i), mask),
          y = kb.loadMaybeMasked(kb.at(kb.arg(1), i), mask);
        kb.storeMaybeMasked(f(x, y), kb.at(kb.arg(2), i), mask);
      });
    kb.finish();
  }
}

double ulps(float actual, double expected) {
  if (std::isnan(expected))
    return std::isnan(actual) ? 0 : INFINITY;
  float rounded = static_cast<float>(expected);
  if (std::isinf(rounded) || std::isinf(actual))
    return actual == rounded
               ? 0
               : (std::isinf(actual) && std::fabs(expected) > 3.4028e38
                      ? 1
                      : INFINITY);
  if (std::isnan(actual))
    return INFINITY;
  int exponent;
  std::frexp(rounded, &exponent);
  double unit = std::ldexp(1.0, std::max(exponent - 24, -149));
  return std::fabs(actual - expected) / unit;
}

struct Function {
  const char *name;
  V (*emit)(KernelBuilder &, V);
  double (*reference)(double);
  double maxUlps;
  float low, high;
  bool specials;
};

const Function functions[] = {
    {"exp", emitExp, std::exp, 1.1, -110, 95, true},
    {"exp_non_positive", emitExpNonPositive, std::exp, 1.1, -87.3f, 0, false},
    {"log", emitLog, std::log, 1, 0, 100, true},
    {"tanh", emitTanh, std::tanh, 2.5, -12, 12, true},
    {"erf", emitErf, std::erf, 1.5, -5, 5, true},
    {"sigmoid", emitSigmoid, [](double x) { return 1 / (1 + std::exp(-x)); },
     2.2, -110, 110, true},
    {"sin", emitSin, std::sin, 1, -100, 100, true},
    {"cos", emitCos, std::cos, 1, -100, 100, true},
};

std::vector<float> specialValues() {
  std::vector<float> v = {
      0.0f,      -0.0f,   INFINITY,        -INFINITY, NAN,     1.0f,  -1.0f,
      1e-40f,    -1e-40f, 1.17549435e-38f, 1.4e-45f,  0.5f,    2.0f,  88.5f,
      -88.5f,    88.72f,  88.73f,          -103.9f,   -104.5f, 1e30f, -1e30f,
      0.921875f, 3.92f,   3.99f,           9.1f,      -9.1f,   1.5f,  3.0f,
      -2.0f,     -3.0f};
  return v;
}

TEST_P(MathTest, Unary) {
  KernelLibrary library(target, [&](KernelBuilder &kb) {
    for (const Function &f : functions)
      emitMap(kb, f.name, [&](V x, V) { return f.emit(kb, x); });
  });
  for (const Function &f : functions)
    for (bool scalar : {false, true}) {
      auto x = randomVector(400001, 5, f.low, f.high);
      // Every magnitude, not only those near the ends of the range.
      std::mt19937 rng(6);
      for (int i = 0; i < 200000; ++i) {
        uint32_t bits = rng();
        float value;
        memcpy(&value, &bits, 4);
        if (value >= f.low && value <= f.high)
          x.push_back(value);
      }
      if (f.specials)
        for (float s : specialValues())
          if (std::string(f.name) != "sin" && std::string(f.name) != "cos"
                  ? true
                  : !(std::fabs(s) > 1e8f) || std::isinf(s))
            x.push_back(s);
      std::vector<float> out(x.size());
      int64_t dims[] = {(int64_t)x.size()};
      void *args[] = {x.data(), x.data(), out.data()};
      library[std::string(f.name) + (scalar ? "_scalar" : "")](args, dims, 0,
                                                               nullptr);
      double worst = 0;
      float worstAt = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        double e = ulps(out[i], f.reference(x[i]));
        if (!(e <= worst)) {
          worst = e;
          worstAt = x[i];
        }
      }
      printf("  %-16s %-6s max %.2f ulp at %g\n", f.name,
             scalar ? "scalar" : "vector", worst, worstAt);
      EXPECT_LE(worst, f.maxUlps) << f.name << " at " << worstAt;
      if (std::string(f.name) == "tanh" || std::string(f.name) == "erf" ||
          std::string(f.name) == "sin")
        for (size_t i = 0; i < x.size(); ++i)
          if (x[i] == 0)
            EXPECT_EQ(std::signbit(out[i]), std::signbit(x[i])) << f.name;
    }
}

// In units of the last place above zero; below, where it ends in a product with a
// vanishing factor, to 2^-23 of x.
TEST_P(MathTest, Gelu) {
  KernelLibrary library(target, [&](KernelBuilder &kb) {
    emitMap(kb, "gelu", [&](V x, V) { return emitGelu(kb, x); });
  });
  auto x = randomVector(400000, 5, -9, 9);
  for (float special : {0.0f, -0.0f, 1e-40f, -1e-40f, 1e-10f, 5.6f, -5.6f, 5.61f, -5.61f, -30.0f, 1e30f, -1e30f, INFINITY, NAN})
    x.push_back(special);
  for (const char *name : {"gelu", "gelu_scalar"}) {
    std::vector<float> out(x.size());
    int64_t dims[] = {(int64_t)x.size()};
    void *args[] = {x.data(), x.data(), out.data()};
    library[name](args, dims, 0, nullptr);
    double worst = 0, worstBelow = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      double expected = 0.5 * x[i] * std::erfc(-x[i] / std::sqrt(2.0));
      if (x[i] < 0)
        worstBelow = std::max(worstBelow, std::fabs(out[i] - expected) / std::fabs(x[i]));
      else
        worst = std::max(worst, ulps(out[i], expected));
    }
    printf("  %-16s max %.2f ulp, %.2g of x below zero\n", name, worst, worstBelow);
    EXPECT_LE(worst, 2.5);
    EXPECT_LE(worstBelow, 0x1p-23);
  }
}

TEST_P(MathTest, LargeAngles) {
  KernelLibrary library(target, [&](KernelBuilder &kb) {
    emitMap(kb, "sin", [&](V x, V) { return emitSin(kb, x); });
    emitMap(kb, "cos", [&](V x, V) { return emitCos(kb, x); });
  });
  float limit = target.hasFma ? 1.3e8f : 1e6f;
  auto x = randomVector(200000, 5, -limit, limit);
  std::vector<float> out(x.size());
  int64_t dims[] = {(int64_t)x.size()};
  void *args[] = {x.data(), x.data(), out.data()};
  library["sin"](args, dims, 0, nullptr);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, ulps(out[i], std::sin((double)x[i])));
  library["cos"](args, dims, 0, nullptr);
  for (size_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, ulps(out[i], std::cos((double)x[i])));
  EXPECT_LE(worst, 1.5);
}

TEST_P(MathTest, Pow) {
  KernelLibrary library(target, [&](KernelBuilder &kb) {
    emitMap(kb, "pow", [&](V x, V y) { return emitPow(kb, x, y); });
  });
  auto x = randomVector(200000, 7, 0, 20), y = randomVector(200000, 8, -20, 20);
  auto specials = specialValues();
  for (float a : specials)
    for (float b : specials) {
      x.push_back(a);
      y.push_back(b);
    }
  for (float b : {2.0f, 3.0f, 0.5f, -1.0f, 16777217.0f, 16777216.0f, 3.5f})
    for (float a : {-7.25f, -1.0f, -0.0f, 0.0f, -INFINITY}) {
      x.push_back(a);
      y.push_back(b);
    }
  std::vector<float> out(x.size());
  int64_t dims[] = {(int64_t)x.size()};
  void *args[] = {x.data(), y.data(), out.data()};
  for (const char *name : {"pow", "pow_scalar"}) {
    library[name](args, dims, 0, nullptr);
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      double e = ulps(out[i], std::pow((double)x[i], (double)y[i]));
      if (!(e <= 1))
        ADD_FAILURE() << x[i] << " ^ " << y[i] << " = " << out[i] << ", " << e
                      << " ulp";
      worst = std::max(worst, e);
    }
    printf("  %-16s max %.2f ulp\n", name, worst);
  }
}

} // namespace
