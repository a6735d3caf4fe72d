// Folds against the evaluator: on random constants, what an operation folds to
// (or becomes in place) has the value that it had; symbolic folds likewise,
// once symbols are bound.
#include "EvalFixture.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

#include <random>

using namespace mlir;
using namespace llmopt::lm;

namespace {

struct Folds : EvalFixture {
  std::mt19937 generator;

  int64_t number(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(generator); }

  /// Values where identities are tempted: zeros of both signs, ones, NaN.
  std::string literal(Type type) {
    if (type.isInteger(1))
      return number(0, 1) ? "true" : "false";
    if (isa<IntegerType>(type))
      return std::to_string(number(-3, 5));
    static const char *values[] = {"0.0", "-0.0", "1.0", "-1.0", "2.5", "0x7FC00000", "0x7F800000", "-3.0"};
    return values[number(0, 7)];
  }

  std::string constant(const std::string &name, Type type, ArrayRef<int64_t> dims) {
    std::string text;
    llvm::raw_string_ostream os(text);
    os << name << " = lm.constant dense<";
    if (number(0, 2) == 0) {
      os << literal(type);
    } else {
      std::function<void(size_t)> nest = [&](size_t d) {
        if (d == dims.size()) {
          os << literal(type);
          return;
        }
        os << "[";
        for (int64_t i = 0; i < dims[d]; ++i) {
          os << (i ? ", " : "");
          nest(d + 1);
        }
        os << "]";
      };
      nest(0);
    }
    os << "> : " << RankedTensorType::get(dims, type) << "\n";
    return text;
  }

  /// Evaluates the module's function before and after canonicalization.
  void check(const std::string &text, ArrayRef<Tensor> inputs, bool mustFold) {
    SCOPED_TRACE(text);
    OwningOpRef<ModuleOp> module = parse(text);
    ASSERT_TRUE(module) << diagnostics;
    auto function = *module->getOps<func::FuncOp>().begin();
    auto before = evaluate(function, inputs);
    diagnostics.clear();
    PassManager manager(&context);
    manager.addPass(createCanonicalizerPass());
    ASSERT_TRUE(succeeded(manager.run(*module))) << diagnostics;
    auto after = evaluate(function, inputs);
    ASSERT_EQ(succeeded(before), succeeded(after)) << diagnostics;
    if (failed(before))
      return;
    for (auto [x, y] : llvm::zip(*before, *after)) {
      EXPECT_EQ(x.getType(), y.getType());
      EXPECT_EQ(x.ints(), y.ints());
      for (auto [a, b] : llvm::zip(x.floats(), y.floats())) {
        bool same = (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b));
        EXPECT_TRUE(same) << a << " became " << b;
      }
    }
    if (mustFold)
      for (Operation &op : function.getBody().front().without_terminator())
        EXPECT_TRUE(isa<ConstantOp>(op)) << "left over: " << op.getName().getStringRef().str();
  }
};

TEST_F(Folds, ConstantsAgreeWithTheEvaluator) {
  struct Case {
    const char *op;
    const char *types; // of operands and result: f, i, b
  };
  const Case cases[] = {{"lm.add %a, %b", "fff"},          {"lm.add %a, %b", "iii"},
                        {"lm.sub %a, %b", "fff"},          {"lm.sub %a, %b", "iii"},
                        {"lm.mul %a, %b", "fff"},          {"lm.mul %a, %b", "iii"},
                        {"lm.div %a, %b", "fff"},          {"lm.pow %a, %b", "fff"},
                        {"lm.min %a, %b", "fff"},          {"lm.max %a, %b", "iii"},
                        {"lm.and %a, %b", "bbb"},          {"lm.or %a, %b", "bbb"},
                        {"lm.xor %a, %b", "bbb"},          {"lm.compare <lt> %a, %b", "ffb"},
                        {"lm.compare <eq> %a, %b", "iib"}, {"lm.mod %a, %b {fmod = true}", "fff"}};
  auto type = [&](char c) { return c == 'f' ? f32 : c == 'i' ? i64 : i1; };
  for (int round = 0; round < 3000; ++round) {
    generator.seed(round);
    const Case &c = cases[round % std::size(cases)];
    // The first operand is a constant or an input, broadcasting either way.
    SmallVector<int64_t> a = {number(1, 2), 3}, b = number(0, 1) ? SmallVector<int64_t>{3} : SmallVector<int64_t>{2, 1};
    SmallVector<int64_t> result = {b.size() == 2 ? 2 : a[0], 3};
    bool isInput = number(0, 1);
    std::string text, signature;
    llvm::raw_string_ostream os(text);
    Type ta = type(c.types[0]), tb = type(c.types[1]), tr = type(c.types[2]);
    auto at = RankedTensorType::get(a, ta), bt = RankedTensorType::get(b, tb), rt = RankedTensorType::get(result, tr);
    os << "func.func @f(" << (isInput ? "%a: " : "%unused: ") << at << ") -> " << rt << " {\n";
    if (!isInput)
      os << constant("%a", ta, a);
    os << constant("%b", tb, b) << "%r = " << c.op << " : (" << at << ", " << bt << ") -> " << rt
       << "\nreturn %r : " << rt << "\n}";
    SmallVector<double> floatValues;
    SmallVector<int64_t> intValues;
    for (int64_t i = 0; i < a[0] * 3; ++i) {
      double values[] = {0.0, -0.0, 1, NAN, INFINITY, -2.5};
      floatValues.push_back(values[number(0, 5)]);
      intValues.push_back(number(-3, 3));
    }
    check(text, {isa<FloatType>(ta) ? floats(ta, a, floatValues) : ints(ta, a, intValues)}, !isInput);
  }
}

TEST_F(Folds, ShapeChainsOfExportersDisappear) {
  // torch: x.view(x.size(0), -1, 12, 64), by Shape, Gather, Unsqueeze, Concat.
  const char *text = R"(
    func.func @f(%x: tensor<?x?x768xf32, #lm.dims<"b", "s", 768>>) -> (tensor<4xi64>, tensor<i64>, tensor<1xi1>, tensor<i64>) {
      %shape = lm.shape %x : (tensor<?x?x768xf32, #lm.dims<"b", "s", 768>>) -> tensor<3xi64>
      %zero = lm.constant dense<0> : tensor<i64>
      %one = lm.constant dense<1> : tensor<i64>
      %heads = lm.constant dense<12> : tensor<1xi64>
      %last = lm.constant dense<-1> : tensor<1xi64>
      %b = lm.gather %shape, %zero {axis = 0 : i64} : (tensor<3xi64>, tensor<i64>) -> tensor<i64>
      %s = lm.gather %shape, %one {axis = 0 : i64} : (tensor<3xi64>, tensor<i64>) -> tensor<i64>
      %b1 = lm.reshape %b : (tensor<i64>) -> tensor<1xi64>
      %s1 = lm.reshape %s : (tensor<i64>) -> tensor<1xi64>
      %h = lm.gather %shape, %last {axis = 0 : i64} : (tensor<3xi64>, tensor<1xi64>) -> tensor<1xi64>
      %d = lm.div %h, %heads : (tensor<1xi64>, tensor<1xi64>) -> tensor<1xi64>
      %new = lm.concat %b1, %s1, %heads, %d {axis = 0 : i64} : (tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<4xi64>
      %minus = lm.constant dense<-1> : tensor<4xi64>
      %ones = lm.constant dense<1> : tensor<4xi64>
      %open = lm.compare <eq> %new, %minus : (tensor<4xi64>, tensor<4xi64>) -> tensor<4xi1>
      %expand = lm.where %open, %ones, %new : (tensor<4xi1>, tensor<4xi64>, tensor<4xi64>) -> tensor<4xi64>
      %all = lm.reduce <prod> %shape {axes = array<i64: 0>, keepdims = false} : (tensor<3xi64>) -> tensor<i64>
      %half = lm.div %all, %b : (tensor<i64>, tensor<i64>) -> tensor<i64>
      %long = lm.compare <gt> %s1, %last : (tensor<1xi64>, tensor<1xi64>) -> tensor<1xi1>
      %narrow = lm.cast %s : (tensor<i64>) -> tensor<i32>
      %wide = lm.cast %narrow : (tensor<i32>) -> tensor<i64>
      return %expand, %half, %long, %wide : tensor<4xi64>, tensor<i64>, tensor<1xi1>, tensor<i64>
    })";
  check(text, {floats({2, 5, 768}, 0.0)}, /*mustFold=*/true);
}

TEST_F(Folds, SymbolicMovementAgreesWithTheEvaluator) {
  const char *text = R"(
    func.func @f(%x: tensor<?x?xf32, #lm.dims<"b", "s">>) -> (tensor<2x2xi64>, tensor<2xi64>, tensor<2x3xi64>, tensor<4xi64>, tensor<i64>, tensor<2xi64>) {
      %v = lm.constant #lm.sym<"b", "s", "b*s", 7> : tensor<4xi64>
      %m = lm.reshape %v : (tensor<4xi64>) -> tensor<2x2xi64>
      %t = lm.transpose %m {perm = array<i64: 1, 0>} : (tensor<2x2xi64>) -> tensor<2x2xi64>
      %r = lm.slice %v {starts = #lm.sym<3> : tensor<1xi64>, steps = array<i64: -2>} : (tensor<4xi64>) -> tensor<2xi64>
      %r1 = lm.reshape %r : (tensor<2xi64>) -> tensor<2x1xi64>
      %e = lm.broadcast %r1 : (tensor<2x1xi64>) -> tensor<2x3xi64>
      %zero = lm.constant dense<0> : tensor<i64>
      %p = lm.pad %r, %zero {low = #lm.sym<1> : tensor<1xi64>, high = #lm.sym<1> : tensor<1xi64>} : (tensor<2xi64>, tensor<i64>) -> tensor<4xi64>
      %max = lm.reduce <max> %t {axes = array<i64: 0, 1>, keepdims = false} : (tensor<2x2xi64>) -> tensor<i64>
      %sq = lm.reduce <sum_square> %r1 {axes = array<i64: 1>, keepdims = false} : (tensor<2x1xi64>) -> tensor<2xi64>
      return %t, %r, %e, %p, %max, %sq : tensor<2x2xi64>, tensor<2xi64>, tensor<2x3xi64>, tensor<4xi64>, tensor<i64>, tensor<2xi64>
    })";
  check(text, {floats({2, 3}, 0.0)}, /*mustFold=*/true);
  check(text, {floats({1, 9}, 0.0)}, /*mustFold=*/true);
}

TEST_F(Folds, ChainsOfMovesKeepTheirValue) {
  const char *text = R"(
    func.func @f(%x: tensor<2x3x4xf32>) -> (tensor<4x3x2xf32>, tensor<24xf32>, tensor<1x2x2xf32>, tensor<3x2x3x4xf32>) {
      %a = lm.transpose %x {perm = array<i64: 0, 2, 1>} : (tensor<2x3x4xf32>) -> tensor<2x4x3xf32>
      %b = lm.transpose %a {perm = array<i64: 1, 2, 0>} : (tensor<2x4x3xf32>) -> tensor<4x3x2xf32>
      %c = lm.reshape %x : (tensor<2x3x4xf32>) -> tensor<6x4xf32>
      %d = lm.reshape %c : (tensor<6x4xf32>) -> tensor<24xf32>
      %e = lm.slice %x {starts = #lm.sym<1, 0, 1> : tensor<3xi64>, steps = array<i64: 1, 1, 1>} : (tensor<2x3x4xf32>) -> tensor<1x3x3xf32>
      %f = lm.slice %e {starts = #lm.sym<0, 1, 1> : tensor<3xi64>, steps = array<i64: 1, 1, 1>} : (tensor<1x3x3xf32>) -> tensor<1x2x2xf32>
      %g = lm.broadcast %x : (tensor<2x3x4xf32>) -> tensor<1x2x3x4xf32>
      %h = lm.broadcast %g : (tensor<1x2x3x4xf32>) -> tensor<3x2x3x4xf32>
      return %b, %d, %f, %h : tensor<4x3x2xf32>, tensor<24xf32>, tensor<1x2x2xf32>, tensor<3x2x3x4xf32>
    })";
  SmallVector<double> values;
  for (int i = 0; i < 24; ++i)
    values.push_back(i);
  check(text, {floats({2, 3, 4}, values)}, /*mustFold=*/false);
}

} // namespace
