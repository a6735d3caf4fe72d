// Every rule of differentiation against differences of the evaluator in f64: five points
// for each element of each operand (error h^4), with broadcasts and dimensions of 1.
#include "llmopt/Dialect/LM/Eval/Evaluator.h"
#include "llmopt/Transforms/Training/Autodiff.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

using namespace llmopt;

namespace {

constexpr double kStep = 1e-3, kTolerance = 1e-6;

class Gradient : public testing::Test {
protected:
  Gradient() : context(mlir::MLIRContext::Threading::DISABLED) {
    context.loadDialect<lm::LMDialect, mlir::func::FuncDialect>();
  }

  /// What the loss weighs element i of the result with: no symmetry hides an error.
  static double weightOf(size_t i) { return 0.3 + 0.1 * static_cast<double>(i % 7); }

  /// Checks the gradients by all arguments (f64, static; in [low, high]) of @main in
  /// `text`.
  void check(const std::string &text, double low = -0.9, double high = 0.9) {
    SCOPED_TRACE(text);
    auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    ASSERT_TRUE(module);
    auto main = module->lookupSymbol<mlir::func::FuncOp>("main");
    std::mt19937 random(11);
    std::uniform_real_distribution<double> draw(low, high);
    llvm::SmallVector<lm::Tensor> inputs;
    for (mlir::Type type : main.getArgumentTypes()) {
      auto tensor = mlir::cast<mlir::RankedTensorType>(type);
      std::vector<double> values(tensor.getNumElements());
      for (double &value : values)
        value = draw(random);
      inputs.push_back(llvm::cantFail(lm::Tensor::fromFloats(tensor.getElementType(), tensor.getShape(), values)));
    }
    auto loss = [&](llvm::ArrayRef<lm::Tensor> at) {
      auto results = lm::evaluate(main, at);
      EXPECT_TRUE(mlir::succeeded(results));
      double sum = 0;
      for (auto [i, value] : llvm::enumerate(results->front().floats()))
        sum += weightOf(i) * value;
      return sum;
    };
    mlir::OwningOpRef<mlir::ModuleOp> derivative = module->clone();
    auto function = derivative->lookupSymbol<mlir::func::FuncOp>("main");
    ASSERT_TRUE(differentiate(function));
    auto gradients = lm::evaluate(function, inputs);
    ASSERT_TRUE(mlir::succeeded(gradients));
    for (size_t number = 0; number < inputs.size(); ++number)
      for (int64_t i = 0; i < inputs[number].getNumElements(); ++i) {
        auto at = [&](double step) {
          llvm::SmallVector<lm::Tensor> moved = inputs;
          moved[number].mutableFloats()[i] += step;
          return loss(moved);
        };
        double expected = (at(-2 * kStep) - 8 * at(-kStep) + 8 * at(kStep) - at(2 * kStep)) / (12 * kStep);
        EXPECT_NEAR((*gradients)[number].floats()[i], expected, kTolerance * std::max(1.0, std::abs(expected)))
            << "operand " << number << ", element " << i;
      }
  }

  /// Returns the gradients of the weighted sum of result 0 by all arguments.
  static bool differentiate(mlir::func::FuncOp function) {
    mlir::Operation *end = function.front().getTerminator();
    mlir::OpBuilder builder(end);
    mlir::Location loc = end->getLoc();
    auto type = mlir::cast<mlir::RankedTensorType>(end->getOperand(0).getType());
    std::vector<double> weights(type.getNumElements());
    for (size_t i = 0; i < weights.size(); ++i)
      weights[i] = weightOf(i);
    mlir::Value weight =
        lm::ConstantOp::create(builder, loc, mlir::DenseElementsAttr::get(type, llvm::ArrayRef<double>(weights)));
    mlir::Value product = lm::MulOp::create(builder, loc, end->getOperand(0), weight);
    mlir::Value loss = lm::ReduceOp::create(builder, loc, lm::ReduceKind::Sum, product,
                                            llvm::to_vector(llvm::seq<int64_t>(0, type.getRank())), false);
    llvm::SmallVector<mlir::Value> targets(function.getArguments());
    auto gradients = buildGradients(builder, loss, targets);
    if (mlir::failed(gradients))
      return false;
    end->setOperands(*gradients);
    function.setFunctionType(
        builder.getFunctionType(function.getArgumentTypes(), mlir::ValueRange(*gradients).getTypes()));
    EXPECT_TRUE(mlir::succeeded(mlir::verify(function)));
    return true;
  }

  static std::string tensor(const std::string &dims) { return "tensor<" + dims + (dims.empty() ? "" : "x") + "f64>"; }

  /// `op` with operands %a, %b, .. of these dimensions.
  void op(const std::string &op, const std::vector<std::string> &dims, const std::string &result, double low = -0.9,
          double high = 0.9, const std::string &before = "", const std::string &otherTypes = "") {
    std::string arguments, types;
    for (size_t i = 0; i < dims.size(); ++i) {
      arguments += (i ? ", %" : "%") + std::string(1, static_cast<char>('a' + i)) + ": " + tensor(dims[i]);
      types += (i ? ", " : "") + tensor(dims[i]);
    }
    check("func.func @main(" + arguments + ") -> " + tensor(result) + " {\n" + before + "\n%r = " + op + " : (" +
              types + otherTypes + ") -> " + tensor(result) + "\nreturn %r : " + tensor(result) + "\n}\n",
          low, high);
  }

  mlir::MLIRContext context;
};

TEST_F(Gradient, Binary) {
  struct Shapes {
    const char *a, *b, *result;
  };
  for (const char *name : {"add", "sub", "mul", "div", "max", "min", "pow"})
    for (Shapes s : {Shapes{"2x3", "2x3", "2x3"}, Shapes{"2x3", "3", "2x3"}, Shapes{"2x3", "2x1", "2x3"},
                     Shapes{"2x1x3", "4x1", "2x4x3"}, Shapes{"", "2x3", "2x3"}, Shapes{"1x1", "2x3", "2x3"},
                     Shapes{"1", "1", "1"}})
      op(std::string("lm.") + name + " %a, %b", {s.a, s.b}, s.result, 0.5, 1.5);
}

TEST_F(Gradient, Unary) {
  for (const char *name : {"neg", "abs", "exp", "sin", "cos", "erf", "tanh", "sigmoid", "softplus", "relu", "asin",
                           "acos", "atan", "asinh", "atanh"})
    op(std::string("lm.") + name + " %a", {"2x3"}, "2x3", 0.1, 0.9);
  for (const char *name : {"neg", "abs", "exp", "sin", "cos", "erf", "tanh", "sigmoid", "softplus", "relu"})
    op(std::string("lm.") + name + " %a", {"2x3"}, "2x3", -0.9, -0.1);
  for (const char *name : {"log", "sqrt", "reciprocal"})
    op(std::string("lm.") + name + " %a", {"2x1x3"}, "2x1x3", 0.4, 2);
  op("lm.acosh %a", {"2x3"}, "2x3", 1.2, 3);
  op("lm.elu %a {alpha = 0.7 : f64}", {"2x3"}, "2x3");
  op("lm.leaky_relu %a {alpha = 0.1 : f64}", {"2x3"}, "2x3");
  for (const char *kind : {"erf", "tanh", "quick"})
    op(std::string("lm.gelu <") + kind + "> %a", {"2x3"}, "2x3", -2, 2);
}

TEST_F(Gradient, Reductions) {
  for (const char *kind : {"sum", "mean", "max", "min", "l1", "l2", "sum_square", "log_sum", "log_sum_exp"}) {
    std::string name = std::string("lm.reduce <") + kind + "> %a ";
    op(name + "{axes = array<i64: 1>, keepdims = false}", {"2x3x4"}, "2x4", 0.2, 1.5);
    op(name + "{axes = array<i64: 0, 2>, keepdims = true}", {"2x3x4"}, "1x3x1", 0.2, 1.5);
    op(name + "{axes = array<i64: 1>, keepdims = false}", {"2x1x4"}, "2x4", 0.2, 1.5);
  }
  for (const char *log : {"false", "true"})
    for (const char *axis : {"0", "1", "2"})
      op("lm.softmax %a {axis = " + std::string(axis) + " : i64, log = " + log + "}", {"2x3x1"}, "2x3x1", -2, 2);
  for (const char *exclusive : {"false", "true"})
    for (const char *reverse : {"false", "true"})
      op(std::string("lm.cum_sum %a {axis = 1 : i64, exclusive = ") + exclusive + ", reverse = " + reverse + "}",
         {"2x4"}, "2x4");
}

TEST_F(Gradient, Products) {
  struct Shapes {
    const char *a, *b, *result;
  };
  for (Shapes s : {Shapes{"2x3", "3x4", "2x4"}, Shapes{"5x2x3", "3x4", "5x2x4"}, Shapes{"5x1x2x3", "6x3x4", "5x6x2x4"},
                   Shapes{"2x3", "5x3x1", "5x2x1"}, Shapes{"3", "3x4", "4"}, Shapes{"3", "2x3x4", "2x4"},
                   Shapes{"2x3", "3", "2"}, Shapes{"5x2x3", "3", "5x2"}, Shapes{"3", "3", ""}})
    op("lm.matmul %a, %b", {s.a, s.b}, s.result);
  op("lm.linear %a, %b bias %c", {"2x5x3", "3x4", "4"}, "2x5x4");
  op("lm.linear %a, %b", {"5x3", "3x1"}, "5x1");
  op("lm.linear %a, %b bias %c {transpose_weight = true}", {"1x5x3", "4x3", "4"}, "1x5x4");
}

TEST_F(Gradient, Shapes) {
  op("lm.reshape %a", {"2x6"}, "3x4");
  op("lm.broadcast %a", {"3x1"}, "2x3x4");
  op("lm.transpose %a {perm = array<i64: 2, 0, 1>}", {"2x3x4"}, "4x2x3");
  op("lm.concat %a, %b {axis = 1 : i64}", {"2x3", "2x1"}, "2x4");
  op("lm.pad %a, %b {low = #lm.sym<1, 0> : tensor<2xi64>, high = #lm.sym<0, 2> : tensor<2xi64>}", {"2x3", ""}, "3x5");
  op("lm.trilu %a {diagonal = 1 : i64, upper = false}", {"3x4"}, "3x4");
  std::string where = "%m = lm.constant dense<[[true], [false]]> : tensor<2x1xi1>";
  check("func.func @main(%a: tensor<2x3xf64>, %b: tensor<3xf64>) -> tensor<2x3xf64> {\n" + where +
        "\n%r = lm.where %m, %a, %b : (tensor<2x1xi1>, tensor<2x3xf64>, tensor<3xf64>) -> tensor<2x3xf64>\n"
        "return %r : tensor<2x3xf64>\n}\n");
  // Bounds apart, each taken somewhere.
  std::string t = "tensor<f64>", two = " : (" + t + ", " + t + ") -> " + t + "\n";
  std::string bounds = "%h = lm.constant dense<5.0e-01> : " + t + "\n%s = lm.constant dense<1.0e-01> : " + t +
                       "\n%d = lm.mul %b, %s" + two + "%e = lm.mul %c, %s" + two + "%low = lm.sub %d, %h" + two +
                       "%high = lm.add %e, %h" + two;
  op("lm.clip %a min %low max %high", {"2x5", "", ""}, "2x5", -0.9, 0.9, bounds);
}

TEST_F(Gradient, Slices) {
  auto slice = [&](const char *starts, const char *steps, const char *from, const char *to) {
    op(std::string("lm.slice %a {starts = #lm.sym<") + starts + "> : tensor<2xi64>, steps = array<i64: " + steps + ">}",
       {from}, to);
  };
  slice("1, 0", "1, 1", "4x3", "2x3");
  slice("0, 0", "2, 1", "4x3", "2x3");
  slice("1, 0", "2, 3", "6x7", "3x3");
  slice("3, 2", "-1, -1", "4x3", "4x3");
  slice("5, 6", "-2, -3", "6x7", "3x3");
  slice("2, 0", "5, 1", "4x1", "1x1");
}

TEST_F(Gradient, Gathers) {
  auto with = [&](const std::string &indices, const std::string &type, const std::string &op,
                  const std::vector<std::string> &dims, const std::string &result) {
    std::string arguments, types;
    for (size_t i = 0; i < dims.size(); ++i)
      arguments += (i ? ", %" : "%") + std::string(1, static_cast<char>('a' + i)) + ": " + tensor(dims[i]);
    types = tensor(dims[0]) + ", " + type + (dims.size() > 1 ? ", " + tensor(dims[1]) : "");
    check("func.func @main(" + arguments + ") -> " + tensor(result) + " {\n%i = lm.constant dense<" + indices +
          "> : " + type + "\n%r = " + op + " : (" + types + ") -> " + tensor(result) +
          "\nreturn %r : " + tensor(result) + "\n}\n");
  };
  with("[[0, 2], [-1, 0]]", "tensor<2x2xi64>", "lm.gather %a, %i {axis = 0 : i64}", {"4x3"}, "2x2x3");
  with("[[0, 2], [-1, 0]]", "tensor<2x2xi64>", "lm.gather %a, %i {axis = 1 : i64}", {"2x4x3"}, "2x2x2x3");
  with("[1, 1, -4]", "tensor<3xi64>", "lm.gather %a, %i {axis = 2 : i64}", {"2x3x4"}, "2x3x3");
  with("1", "tensor<i64>", "lm.gather %a, %i {axis = 1 : i64}", {"2x3"}, "2");
  with("[0, 0, -1]", "tensor<3xi64>", "lm.gather %a, %i {axis = 0 : i64}", {"2"}, "3");
  with("[[0, 2], [-1, 0]]", "tensor<2x2xi64>", "lm.embedding %a, %i", {"4x3"}, "2x2x3");
  with("[[0, 2, 2], [-1, 0, 0]]", "tensor<2x3xi64>", "lm.gather_elements %a, %i {axis = 1 : i64}", {"2x4"}, "2x3");
  with("[[0, 1, -1]]", "tensor<1x3xi64>", "lm.gather_elements %a, %i {axis = 0 : i64}", {"2x4"}, "1x3");
  with("[[0, 1], [1, -1], [0, 1]]", "tensor<3x2xi64>", "lm.gather_nd %a, %i {batch_dims = 0 : i64}", {"2x3x2"}, "3x2");
  for (std::string kind : {"none", "add"}) { // with several updates of one element
    with("[[0, 2, 0], [-1, 0, 1]]", "tensor<2x3xi64>", "lm.scatter_elements <" + kind + "> %a, %i, %b {axis = 1 : i64}",
         {"2x4", "2x3"}, "2x4");
    with("[[1], [0], [-2]]", "tensor<3x1xi64>", "lm.scatter_nd <" + kind + "> %a, %i, %b", {"3x2", "3x2"}, "3x2");
    with("[[1, 1], [0, 0], [1, 1]]", "tensor<3x2xi64>", "lm.scatter_nd <" + kind + "> %a, %i, %b", {"3x2", "3"}, "3x2");
  }
}

TEST_F(Gradient, Norms) {
  for (const char *kind : {"layer", "rms"})
    for (const char *rows : {"2x3x", "1x"}) {
      std::string x = rows + std::string("5"), attributes = " {epsilon = 1.0e-3 : f64}", name = "lm.norm <";
      name += std::string(kind) + "> %a";
      op(name + attributes, {x}, x);
      op(name + " scale %b" + attributes, {x, "5"}, x);
      op(name + " scale %b bias %c" + attributes, {x, "5", "5"}, x);
    }
}

TEST_F(Gradient, Dropout) {
  std::string before = "%p = lm.constant dense<0.4> : tensor<f32>\n%s = lm.constant dense<7> : tensor<i64>";
  op("lm.dropout %a, %p, %s, %s {id = 3 : i64}", {"3x5"}, "3x5", -0.9, 0.9, before,
     ", tensor<f32>, tensor<i64>, tensor<i64>");
}

TEST_F(Gradient, Attention) {
  struct Form {
    const char *mask, *kind;
  };
  // The last row of the boolean mask sees nothing, nor does the second sequence by its length.
  for (const char *fully : {"zero", "source"})
    for (const char *causal : {"false", "true"})
      for (int kvHeads : {1, 2, 4})
        for (Form form : {Form{"", "none"},
                          Form{"%m = lm.constant dense<[[[[1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]]]]> : ", "boolean"},
                          Form{"%m = lm.constant dense<[3, 0]> : ", "key_lengths"}, Form{"", "additive"}}) {
          std::string kind = form.kind, n = std::to_string(kvHeads), mask;
          mask = kind == "boolean"       ? "tensor<1x1x3x4xi1>"
                 : kind == "key_lengths" ? "tensor<2xi64>"
                                         : "tensor<2x1x1x4xf64>";
          std::string q = tensor("2x3x8"), k = tensor("2x4x" + std::to_string(2 * kvHeads)),
                      v = tensor("2x4x" + std::to_string(3 * kvHeads)), r = tensor("2x3x12");
          std::string text = "func.func @main(%q: " + q + ", %k: " + k + ", %v: " + v +
                             (kind == "additive" ? ", %m: " + mask : "") + ") -> " + r + " {\n";
          if (*form.mask)
            text += form.mask + mask + "\n";
          text += "%r = lm.attention %q, %k, %v" + std::string(kind == "none" ? "" : " mask %m") +
                  " {num_heads = 4 : i64, kv_num_heads = " + n +
                  " : i64, scale = 0.7 : f64, mask_kind = #lm.mask_kind<" + kind + ">, causal = " + causal +
                  ", fully_masked = #lm.fully_masked<" + fully + ">} : (" + q + ", " + k + ", " + v +
                  (kind == "none" ? "" : ", " + mask) + ") -> " + r + "\nreturn %r : " + r + "\n}\n";
          check(text, -1.5, 1.5);
        }
}

} // namespace
