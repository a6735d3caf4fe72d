// Dimension names as symbols.
#include "Dims.h"

#include <gtest/gtest.h>

using namespace llmopt::onnx_import;

static std::string resolve(SymbolNames &names, const char *text) { return names.resolve(text).str(); }

TEST(DimsTest, KeepsIdentifiers) {
  SymbolNames names;
  names.declare("batch");
  EXPECT_EQ(resolve(names, "batch"), "batch");
  EXPECT_EQ(resolve(names, "batch"), "batch");
}

TEST(DimsTest, MakesIdentifiersOfOtherNames) {
  SymbolNames names;
  EXPECT_EQ(resolve(names, "batch size"), "batch_size");
  EXPECT_EQ(resolve(names, "batch-size"), "batch_size_2");
  EXPECT_EQ(resolve(names, "batch size"), "batch_size");
  EXPECT_EQ(resolve(names, "512"), "_512");
  EXPECT_TRUE(isSymbolName(resolve(names, "\xc3\xa9\n")));
}

TEST(DimsTest, AvoidsWordsOfTheExpressionSyntax) {
  SymbolNames names;
  for (const char *word : {"min", "max", "mod", "floordiv", "ceildiv"})
    EXPECT_EQ(resolve(names, word), std::string(word) + "_");
}

TEST(DimsTest, ReadsExpressionsOverDeclaredNames) {
  SymbolNames names;
  names.declare("past");
  names.declare("sequence");
  llmopt::lm::SymExpr sum = names.resolve("past + sequence");
  EXPECT_EQ(sum, llmopt::lm::SymExpr::symbol("past") + llmopt::lm::SymExpr::symbol("sequence"));
  // `other` is bound by no input, so the text is one symbol.
  EXPECT_TRUE(names.resolve("other + 1").getSymbol().has_value());
}

TEST(DimsTest, NamesUnnamedDimensions) {
  SymbolNames names;
  EXPECT_EQ(names.unnamed("input.ids", 1).str(), "input_ids_dim1");
}
