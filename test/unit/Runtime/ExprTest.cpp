#include "expr.h"

#include <gtest/gtest.h>
#include <random>
#include <string>
#include <vector>

using namespace llmopt::rt;
using Code = std::vector<llmopt_expr_insn>;

namespace {
Code binary(llmopt_expr_op op, int64_t a, int64_t b) {
  return {{LLMOPT_EXPR_CONST, a}, {LLMOPT_EXPR_CONST, b}, {op, 0}};
}

/// The value as text, "undefined" where there is none.
std::string value(const Code &code, std::vector<int64_t> symbols = {}) {
  EXPECT_TRUE(isWellFormed(code.data(), uint32_t(code.size()), uint32_t(symbols.size())));
  int64_t result;
  return evaluate(code.data(), uint32_t(code.size()), symbols.data(), &result) ? std::to_string(result) : "undefined";
}

std::string text(const Code &code, std::vector<const char *> names) {
  char buffer[256];
  size_t length = formatExpr(code.data(), uint32_t(code.size()), names.data(), buffer, sizeof(buffer));
  EXPECT_EQ(length, strlen(buffer));
  return buffer;
}
} // namespace

TEST(Expr, Rounding) {
  EXPECT_EQ(value(binary(LLMOPT_EXPR_FLOORDIV, 7, 2)), "3");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_FLOORDIV, -7, 2)), "-4");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_FLOORDIV, 7, -2)), "-4");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_FLOORDIV, -8, 2)), "-4");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_CEILDIV, 7, 2)), "4");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_CEILDIV, -7, 2)), "-3");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_CEILDIV, 8, 2)), "4");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_CEILDIV, 0, 5)), "0");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_MOD, 7, 3)), "1");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_MOD, -7, 3)), "2");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_MOD, 7, -3)), "-2");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_MOD, -6, 3)), "0");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_MIN, -6, 3)), "-6");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_MAX, -6, 3)), "3");
}

TEST(Expr, Overflow) {
  EXPECT_EQ(value(binary(LLMOPT_EXPR_ADD, INT64_MAX, 1)), "undefined");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_ADD, INT64_MIN, -1)), "undefined");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_MUL, INT64_MAX, 2)), "undefined");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_MUL, INT64_MIN, -1)), "undefined");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_FLOORDIV, INT64_MIN, -1)), "undefined");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_CEILDIV, INT64_MIN, -1)), "undefined");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_FLOORDIV, 1, 0)), "undefined");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_CEILDIV, 1, 0)), "undefined");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_MOD, 1, 0)), "undefined");
  EXPECT_EQ(value(binary(LLMOPT_EXPR_MOD, INT64_MIN, -1)), "0");
}

TEST(Expr, DivisionIdentities) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 20000; ++i) {
    int64_t a = int64_t(random()) >> (random() % 64);
    int64_t b = int64_t(random()) >> (random() % 64);
    if (b == 0 || (a == INT64_MIN && b == -1))
      continue;
    int64_t f = std::stoll(value(binary(LLMOPT_EXPR_FLOORDIV, a, b)));
    int64_t c = std::stoll(value(binary(LLMOPT_EXPR_CEILDIV, a, b)));
    int64_t m = std::stoll(value(binary(LLMOPT_EXPR_MOD, a, b)));
    ASSERT_EQ(__int128(f) * b + m, __int128(a));
    ASSERT_EQ(c, f + (m != 0));
    ASSERT_TRUE(m == 0 || (m < 0) == (b < 0));
  }
}

TEST(Expr, SymbolsAndText) {
  Code code = {{LLMOPT_EXPR_SYMBOL, 1}, {LLMOPT_EXPR_CONST, 1},   {LLMOPT_EXPR_ADD, 0}, {LLMOPT_EXPR_SYMBOL, 0},
               {LLMOPT_EXPR_CONST, 8},  {LLMOPT_EXPR_CEILDIV, 0}, {LLMOPT_EXPR_MUL, 0}};
  EXPECT_EQ(value(code, {17, 3}), "12");
  EXPECT_EQ(text(code, {"sequence", "batch"}), "(batch + 1) * (sequence ceildiv 8)");
  Code most = {{LLMOPT_EXPR_SYMBOL, 0},
               {LLMOPT_EXPR_CONST, 4},
               {LLMOPT_EXPR_MAX, 0},
               {LLMOPT_EXPR_CONST, 2},
               {LLMOPT_EXPR_MUL, 0}};
  EXPECT_EQ(text(most, {"n"}), "max(n, 4) * 2");
  EXPECT_EQ(value(most, {9}), "18");
}

TEST(Expr, TextIsCut) {
  Code code = binary(LLMOPT_EXPR_ADD, 1234567, 7654321);
  char small[6] = "xxxxx";
  EXPECT_EQ(formatExpr(code.data(), 3, nullptr, small, sizeof(small)), 17u);
  EXPECT_STREQ(small, "12345");
  EXPECT_EQ(formatExpr(code.data(), 3, nullptr, nullptr, 0), 17u);
}

TEST(Expr, Malformed) {
  auto ok = [](const Code &code) { return isWellFormed(code.data(), uint32_t(code.size()), 2); };
  EXPECT_FALSE(ok({}));
  EXPECT_FALSE(ok({{LLMOPT_EXPR_ADD, 0}}));
  EXPECT_FALSE(ok({{LLMOPT_EXPR_CONST, 1}, {LLMOPT_EXPR_ADD, 0}}));
  EXPECT_FALSE(ok({{LLMOPT_EXPR_CONST, 1}, {LLMOPT_EXPR_CONST, 1}}));
  EXPECT_FALSE(ok({{LLMOPT_EXPR_SYMBOL, 2}}));
  EXPECT_FALSE(ok({{LLMOPT_EXPR_SYMBOL, -1}}));
  EXPECT_FALSE(ok({{99, 0}}));
  EXPECT_FALSE(ok({{-1, 0}}));
  Code deep(maxExprDepth + 1, {LLMOPT_EXPR_CONST, 1});
  deep.insert(deep.end(), maxExprDepth, {LLMOPT_EXPR_ADD, 0});
  EXPECT_FALSE(ok(deep));
}
