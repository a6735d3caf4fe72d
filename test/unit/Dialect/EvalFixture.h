// Evaluating one operation, written as text, on literal tensors.
#ifndef LLMOPT_TEST_UNIT_DIALECT_EVALFIXTURE_H
#define LLMOPT_TEST_UNIT_DIALECT_EVALFIXTURE_H

#include "llmopt/Dialect/LM/Eval/Evaluator.h"
#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

#include <cmath>

namespace llmopt::lm {

struct EvalFixture : ::testing::Test {
  mlir::MLIRContext context;
  mlir::Builder builder{&context};
  mlir::Type f16 = builder.getF16Type(), f32 = builder.getF32Type(), f64 = builder.getF64Type();
  mlir::Type i1 = builder.getI1Type(), i8 = builder.getI8Type(), i32 = builder.getI32Type(), i64 = builder.getI64Type();
  mlir::Type u8 = builder.getIntegerType(8, false), u64 = builder.getIntegerType(64, false);
  std::string diagnostics;
  mlir::ScopedDiagnosticHandler handler{&context, [this](mlir::Diagnostic &diagnostic) {
                                          diagnostics += diagnostic.str() + "\n";
                                          return mlir::success();
                                        }};

  EvalFixture() { context.loadDialect<LMDialect, mlir::func::FuncDialect>(); }

  Tensor floats(mlir::Type type, llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<double> values) {
    return llvm::cantFail(Tensor::fromFloats(type, dims, values));
  }
  Tensor floats(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<double> values) { return floats(f32, dims, values); }
  Tensor ints(mlir::Type type, llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> values) {
    return llvm::cantFail(Tensor::fromInts(type, dims, values));
  }
  Tensor ints(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> values) { return ints(i64, dims, values); }

  mlir::OwningOpRef<mlir::ModuleOp> parse(llvm::StringRef text) {
    return mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  }

  /// The result of `op`, whose operands are %0, %1, .. ; null where it failed
  /// (the reason is in `diagnostics`).
  Tensor eval(const std::string &op, llvm::ArrayRef<Tensor> inputs, const std::string &resultType) {
    std::string arguments, types;
    llvm::raw_string_ostream argumentStream(arguments), typeStream(types);
    for (auto [i, input] : llvm::enumerate(inputs)) {
      argumentStream << (i ? ", " : "") << "%" << i << ": " << input.getType();
      typeStream << (i ? ", " : "") << input.getType();
    }
    bool declares = llvm::StringRef(op).contains("->");
    std::string text = "func.func @f(" + arguments + ") -> " + resultType + " {\n  %r = " + op +
                       (declares ? "" : " : (" + types + ") -> " + resultType) + "\n  return %r : " + resultType +
                       "\n}\n";
    mlir::OwningOpRef<mlir::ModuleOp> module = parse(text);
    EXPECT_TRUE(module) << text << diagnostics;
    if (!module)
      return {};
    mlir::FailureOr<llvm::SmallVector<Tensor>> results =
        evaluate(*module->getOps<mlir::func::FuncOp>().begin(), inputs);
    return mlir::failed(results) ? Tensor() : results->front();
  }

  /// Every element within `tolerance` of max(1, |expected|); NaN matches NaN.
  void expectFloats(const Tensor &tensor, llvm::ArrayRef<double> expected, double tolerance = 0) {
    ASSERT_TRUE(bool(tensor)) << diagnostics;
    ASSERT_TRUE(tensor.isFloat());
    ASSERT_EQ(tensor.floats().size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      double got = tensor.floats()[i];
      if (std::isnan(expected[i]) || std::isinf(expected[i]) || tolerance == 0)
        EXPECT_TRUE(got == expected[i] || (std::isnan(got) && std::isnan(expected[i])))
            << "element " << i << ": expected " << expected[i] << ", but got " << got;
      else
        EXPECT_NEAR(got, expected[i], tolerance * std::max(1.0, std::abs(expected[i]))) << "element " << i;
    }
  }
  void expectInts(const Tensor &tensor, llvm::ArrayRef<int64_t> expected) {
    ASSERT_TRUE(bool(tensor)) << diagnostics;
    EXPECT_EQ(tensor.ints(), expected);
  }
  /// The operation failed, for a reason that contains `reason`.
  void expectFailure(const Tensor &tensor, const std::string &reason) {
    EXPECT_FALSE(bool(tensor));
    EXPECT_NE(diagnostics.find(reason), std::string::npos) << diagnostics;
    diagnostics.clear();
  }
};

} // namespace llmopt::lm

#endif
