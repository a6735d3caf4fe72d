// Vector math on f64 against libm.
#include "Fixture.h"

#include "llmopt/CodeGen/CPU/VectorMath.h"

using namespace llmopt::cpu;

namespace {

class Math64Test : public KernelTest {};
LLMOPT_FOR_ALL_LEVELS(Math64Test);

struct Function {
  const char *name;
  V (*emit)(KernelBuilder &, V);
  double (*reference)(double);
  double relative, low, high;
};

const Function functions[] = {
    {"exp", emitExp, std::exp, 2e-15, -745, 709},
    {"log", emitLog, std::log, 2e-15, 0, 1e6},
    {"tanh", emitTanh, std::tanh, 2e-15, -25, 25},
    {"erf", emitErf, std::erf, 5e-15, -7, 7},
    {"sigmoid", emitSigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, 2e-15, -700, 700},
    {"sin", emitSin, std::sin, 0, -1e5, 1e5},
    {"cos", emitCos, std::cos, 0, -1e5, 1e5},
};

/// out[i] = f(x[i], y[i]), n a multiple of the lanes.
void emitMap(KernelBuilder &kb, const std::string &name, llvm::function_ref<V(V, V)> f) {
  kb.beginKernel(name);
  kb.loop(kb.i(0), kb.size(Size::dim(0)), kb.lanes(), [&](V i) {
    auto at = [&](int arg) { return kb.at(kb.arg(arg), i, kb.f64()); };
    kb.store(f(kb.load(at(0), kb.vecOf(kb.f64())), kb.load(at(1), kb.vecOf(kb.f64()))), at(2));
  });
  kb.finish();
}

/// Whether actual is within `relative` of expected (0: within 1e-15 absolutely).
bool isNear(double actual, double expected, double relative) {
  if (std::isnan(expected) || std::isinf(expected) || expected == 0)
    return std::isnan(expected) ? std::isnan(actual)
                                : actual == expected && std::signbit(actual) == std::signbit(expected);
  double allowed = relative == 0 ? 1e-15 : std::max(relative * std::fabs(expected), 1e-323);
  return std::fabs(actual - expected) <= allowed;
}

std::vector<double> sample(double low, double high, size_t count) {
  std::mt19937_64 rng(5);
  std::uniform_real_distribution<double> uniform(low, high), exponent(-300, 0);
  std::vector<double> x;
  for (size_t i = 0; i < count; ++i)
    x.push_back(i % 4 ? uniform(rng) : uniform(rng) * std::pow(10.0, exponent(rng)));
  return x;
}

TEST_P(Math64Test, Unary) {
  KernelLibrary library(target, [&](KernelBuilder &kb) {
    for (const Function &f : functions)
      emitMap(kb, f.name, [&](V x, V) { return f.emit(kb, x); });
  });
  for (const Function &f : functions) {
    std::vector<double> x = sample(f.low, f.high, 64000);
    for (double s :
         {0.0, -0.0, double(INFINITY), -double(INFINITY), double(NAN), 1.0, -1.0, 4.9e-324, 1e-310, 2.5, 0.5})
      if (f.relative != 0 || std::fabs(s) <= 1e5)
        x.push_back(s);
    x.resize((x.size() + 63) / 64 * 64, 0.25);
    std::vector<double> out(x.size());
    int64_t dims[] = {(int64_t)x.size()};
    void *args[] = {x.data(), x.data(), out.data()};
    library[f.name](args, dims, 0, nullptr);
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_TRUE(isNear(out[i], f.reference(x[i]), f.relative))
          << f.name << "(" << x[i] << ") = " << out[i] << ", expected " << f.reference(x[i]);
  }
}

TEST_P(Math64Test, Pow) {
  KernelLibrary library(target,
                        [&](KernelBuilder &kb) { emitMap(kb, "pow", [&](V x, V y) { return emitPow(kb, x, y); }); });
  std::vector<double> x, y;
  std::mt19937_64 rng(6);
  std::uniform_real_distribution<double> base(0, 50), exponent(-60, 60);
  for (int i = 0; i < 8000; ++i) {
    x.push_back(base(rng));
    y.push_back(exponent(rng));
  }
  const double values[] = {
      0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, double(INFINITY), -double(INFINITY), double(NAN)};
  for (double a : values)
    for (double b : values) {
      x.push_back(a);
      y.push_back(b);
    }
  x.resize((x.size() + 63) / 64 * 64, 2);
  y.resize(x.size(), 3);
  std::vector<double> out(x.size());
  int64_t dims[] = {(int64_t)x.size()};
  void *args[] = {x.data(), y.data(), out.data()};
  library["pow"](args, dims, 0, nullptr);
  for (size_t i = 0; i < x.size(); ++i)
    ASSERT_TRUE(isNear(out[i], std::pow(x[i], y[i]), 2e-13))
        << "pow(" << x[i] << ", " << y[i] << ") = " << out[i] << ", expected " << std::pow(x[i], y[i]);
}

} // namespace
