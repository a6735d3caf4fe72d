// Gradients through lm.fake_quantize: where nothing is clipped, the differences of the
// identity; where something is, nothing.
#include "llmopt/Dialect/LM/Eval/Evaluator.h"
#include "llmopt/Transforms/Training/Autodiff.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

using namespace llmopt;

namespace {

struct Case {
  const char *storage, *attributes;
  std::optional<int64_t> zeroPoint;
  double low, high; ///< integers that are not clipped
};

class FakeQuantize : public testing::Test {
protected:
  FakeQuantize() : context(mlir::MLIRContext::Threading::DISABLED) {
    context.loadDialect<lm::LMDialect, mlir::func::FuncDialect>();
  }
  mlir::MLIRContext context;

  std::vector<double> evaluate(mlir::func::FuncOp function, const std::vector<double> &x,
                               const std::vector<double> &scale) {
    auto f64 = mlir::Float64Type::get(&context);
    int64_t n = static_cast<int64_t>(x.size());
    auto results = lm::evaluate(function, {llvm::cantFail(lm::Tensor::fromFloats(f64, {1, n}, x)),
                                           llvm::cantFail(lm::Tensor::fromFloats(f64, {n}, scale))});
    EXPECT_TRUE(mlir::succeeded(results));
    auto values = (*results)[0].floats();
    return std::vector<double>(values.begin(), values.end());
  }
};

TEST_F(FakeQuantize, StraightThroughWithClipping) {
  for (const Case &c :
       {Case{"i8", "", std::nullopt, -128, 127}, Case{"i8", " {narrow_range = true}", std::nullopt, -127, 127},
        Case{"i8", "", 5, -128, 127}, Case{"ui8", "", 128, 0, 255}, Case{"i4", "", std::nullopt, -8, 7},
        Case{"ui4", "", 3, 0, 15}, Case{"i16", "", std::nullopt, -32768, 32767}}) {
    SCOPED_TRACE(std::string(c.storage) + c.attributes);
    // Integers from far below to far above the range, and their halves, times a scale
    // per channel.
    double zero = c.zeroPoint.value_or(0);
    std::vector<double> integers = {c.low - 100, c.low - 0.6, c.low - 0.4, c.low,        c.low + 0.3,  -0.2 + zero,
                                    zero,        zero + 0.7,  c.high,      c.high + 0.4, c.high + 0.6, c.high + 1e4};
    std::vector<double> x, scale;
    for (size_t i = 0; i < integers.size(); ++i) {
      scale.push_back(0.01 * static_cast<double>(i + 1));
      x.push_back((integers[i] - zero) * scale.back());
    }
    const std::string n = std::to_string(x.size()), t = "tensor<1x" + n + "xf64>", s = "tensor<" + n + "xf64>";
    std::string text = "func.func @main(%x: " + t + ", %s: " + s + ") -> " + t + " {\n";
    if (c.zeroPoint)
      text += "%z = lm.constant dense<" + std::to_string(*c.zeroPoint) + "> : tensor<" + c.storage + ">\n";
    text += "%y = lm.fake_quantize %x scale %s" + std::string(c.zeroPoint ? " zero_point %z" : "") + " as " +
            c.storage + c.attributes + " : (" + t + ", " + s +
            (c.zeroPoint ? ", tensor<" + std::string(c.storage) + ">" : "") + ") -> " + t + "\nreturn %y : " + t +
            "\n}\n";
    auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    ASSERT_TRUE(module);
    auto main = module->lookupSymbol<mlir::func::FuncOp>("main");
    std::vector<double> y = evaluate(main, x, scale);
    for (size_t i = 0; i < x.size(); ++i) {
      double expected = (std::clamp(std::nearbyint(integers[i]), c.low, c.high) - zero) * scale[i];
      EXPECT_NEAR(y[i], expected, 1e-9) << integers[i];
    }

    // loss = sum y^2 / 2, so that the gradient of y is y.
    auto end = mlir::cast<mlir::func::ReturnOp>(main.front().getTerminator());
    mlir::OpBuilder builder(end);
    mlir::Value out = end.getOperand(0);
    mlir::Location loc = end.getLoc();
    mlir::Value square = lm::MulOp::create(builder, loc, out, out);
    auto half = mlir::RankedTensorType::get({}, builder.getF64Type());
    square = lm::MulOp::create(builder, loc, square,
                               lm::ConstantOp::create(builder, loc, mlir::DenseElementsAttr::get(half, 0.5)));
    mlir::Value loss =
        lm::ReduceOp::create(builder, loc, lm::ReduceKind::Sum, square, llvm::ArrayRef<int64_t>{0, 1}, false);
    auto gradients = buildGradients(builder, loss, {main.getArgument(0), main.getArgument(1)});
    ASSERT_TRUE(mlir::succeeded(gradients));
    for (int operand : {0, 1}) {
      end.getOperandsMutable().assign((*gradients)[operand]);
      main.setType(builder.getFunctionType(main.getArgumentTypes(), end.getOperandTypes()));
      std::vector<double> gradient = evaluate(main, x, scale);
      for (size_t i = 0; i < x.size(); ++i) {
        double q = std::nearbyint(integers[i]);
        double expected = operand == 0 && q >= c.low && q <= c.high ? y[i] : 0;
        EXPECT_NEAR(gradient[i], expected, 1e-9) << "operand " << operand << " at " << integers[i];
      }
    }
  }
}

} // namespace
