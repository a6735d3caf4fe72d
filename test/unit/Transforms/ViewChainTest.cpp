#include "llmopt/Transforms/ViewChain.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

using namespace mlir;
using namespace llmopt;

namespace {

/// The chain that ends in the operand of the only return.
struct Fixture {
  MLIRContext context;
  OwningOpRef<ModuleOp> module;

  ViewChain compose(StringRef body, StringRef argument) {
    context.loadDialect<lm::LMDialect, func::FuncDialect>();
    module =
        parseSourceString<ModuleOp>(("func.func @f(%x: " + argument + ") { " + body + " return }").str(), &context);
    EXPECT_TRUE(module);
    Operation *last = nullptr;
    module->walk([&](Operation *op) {
      if (isa<lm::ReshapeOp, lm::TransposeOp>(op))
        last = op;
    });
    return ViewChain::compose(last->getResult(0));
  }
};

TEST(ViewChain, HeadsSplitAndMergedAgainAreNothing) {
  Fixture f;
  ViewChain chain =
      f.compose("%0 = lm.reshape %x : (tensor<2x3x8xf32>) -> tensor<2x3x2x4xf32>"
                "%1 = lm.transpose %0 {perm = array<i64: 0, 2, 1, 3>} : (tensor<2x3x2x4xf32>) -> tensor<2x2x3x4xf32>"
                "%2 = lm.reshape %1 : (tensor<2x2x3x4xf32>) -> tensor<4x3x4xf32>"
                "%3 = lm.transpose %2 {perm = array<i64: 0, 2, 1>} : (tensor<4x3x4xf32>) -> tensor<4x4x3xf32>"
                "%4 = lm.reshape %3 : (tensor<4x4x3xf32>) -> tensor<2x2x4x3xf32>"
                "%5 = lm.transpose %4 {perm = array<i64: 0, 3, 1, 2>} : (tensor<2x2x4x3xf32>) -> tensor<2x3x2x4xf32>"
                "%6 = lm.reshape %5 : (tensor<2x3x2x4xf32>) -> tensor<2x3x8xf32>",
                "tensor<2x3x8xf32>");
  EXPECT_EQ(chain.getLength(), 7u);
  EXPECT_EQ(chain.getEmittedLength(), 0u);
}

TEST(ViewChain, WhatMovesStaysOneTranspose) {
  Fixture f;
  ViewChain chain =
      f.compose("%0 = lm.transpose %x {perm = array<i64: 1, 0, 2>} : (tensor<2x3x4xf32>) -> tensor<3x2x4xf32>"
                "%1 = lm.transpose %0 {perm = array<i64: 2, 1, 0>} : (tensor<3x2x4xf32>) -> tensor<4x2x3xf32>",
                "tensor<2x3x4xf32>");
  EXPECT_EQ(chain.getLength(), 2u);
  EXPECT_EQ(chain.getEmittedLength(), 1u);
}

TEST(ViewChain, StopsWhereFactorsDoNotLineUp) {
  Fixture f;
  ViewChain chain = f.compose("%0 = lm.reshape %x : (tensor<6x5xf32>) -> tensor<2x15xf32>"
                              "%1 = lm.transpose %0 {perm = array<i64: 1, 0>} : (tensor<2x15xf32>) -> tensor<15x2xf32>"
                              "%2 = lm.reshape %1 : (tensor<15x2xf32>) -> tensor<10x3xf32>",
                              "tensor<6x5xf32>");
  // 15x2 as 10x3 would need a factor of 15 that 10 has too.
  EXPECT_EQ(chain.getLength(), 0u);
}

TEST(ViewChain, SymbolicFactors) {
  Fixture f;
  ViewChain chain = f.compose(
      "%0 = lm.reshape %x : (tensor<?x?x8xf32, #lm.dims<\"b\", \"s\", 8>>) -> tensor<?x8xf32, #lm.dims<\"b*s\", 8>>"
      "%1 = lm.reshape %0 : (tensor<?x8xf32, #lm.dims<\"b*s\", 8>>) -> tensor<?x?x2x4xf32, #lm.dims<\"b\", \"s\", 2, "
      "4>>",
      "tensor<?x?x8xf32, #lm.dims<\"b\", \"s\", 8>>");
  EXPECT_EQ(chain.getLength(), 2u);
  EXPECT_EQ(chain.getEmittedLength(), 1u);
  EXPECT_EQ(chain.getResultDims().size(), 4u);
  EXPECT_EQ(chain.getSourceDims()[2].size(), 2u);
}

} // namespace
