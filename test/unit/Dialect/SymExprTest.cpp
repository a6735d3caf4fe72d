// Size expressions: canonical form, text, simplification, and properties on
// random expressions.
#include "llmopt/Dialect/LM/IR/SymExpr.h"

#include <gtest/gtest.h>

#include <random>

using namespace llmopt::lm;

namespace {

SymExpr parse(llvm::StringRef text) {
  std::optional<SymExpr> expr = SymExpr::parse(text);
  EXPECT_TRUE(expr) << text.str();
  return expr ? *expr : SymExpr::unknown();
}

using Values = std::map<std::string, int64_t>;

std::optional<int64_t> evaluate(const SymExpr &expr, const Values &values) {
  return expr.evaluate([&](llvm::StringRef name) -> std::optional<int64_t> {
    auto it = values.find(name.str());
    return it == values.end() ? std::nullopt : std::optional(it->second);
  });
}

/// The postfix code on a stack, as the runtime runs it; no overflow here.
int64_t run(const std::vector<SymExpr::Insn> &code, const Values &values) {
  using Op = SymExpr::Op;
  std::vector<int64_t> stack;
  for (const SymExpr::Insn &insn : code) {
    if (insn.op == Op::Const || insn.op == Op::Symbol) {
      stack.push_back(insn.op == Op::Const ? insn.value : values.at(insn.symbol));
      continue;
    }
    int64_t b = stack.back();
    stack.pop_back();
    int64_t &a = stack.back();
    int64_t floor = b && insn.op != Op::Add && insn.op != Op::Mul ? a / b - (a % b != 0 && (a < 0) != (b < 0)) : 0;
    a = insn.op == Op::Add        ? a + b
        : insn.op == Op::Mul      ? a * b
        : insn.op == Op::FloorDiv ? floor
        : insn.op == Op::CeilDiv  ? floor + (a % b != 0)
        : insn.op == Op::Mod      ? a - floor * b
        : insn.op == Op::Min      ? std::min(a, b)
                                  : std::max(a, b);
  }
  EXPECT_EQ(stack.size(), 1u);
  return stack.back();
}

/// A random expression and, computed beside it, its value.
struct Random {
  std::mt19937 generator;
  Values values;

  int64_t number(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(generator); }

  std::pair<SymExpr, std::optional<int64_t>> expr(int depth) {
    if (depth == 0 || number(0, 5) == 0) {
      if (number(0, 2) == 0) {
        int64_t value = number(-4, 6);
        return {SymExpr(value), value};
      }
      auto it = std::next(values.begin(), number(0, values.size() - 1));
      return {SymExpr::symbol(it->first), it->second};
    }
    auto [a, x] = expr(depth - 1);
    auto [b, y] = expr(depth - 1);
    int op = number(0, 7);
    if (!x || !y)
      return {a, x};
    switch (op) {
    case 0:
      return {a + b, *x + *y};
    case 1:
      return {a - b, *x - *y};
    case 2:
      return {a * b, *x * *y};
    case 3:
      return {SymExpr::min(a, b), std::min(*x, *y)};
    case 4:
      return {SymExpr::max(a, b), std::max(*x, *y)};
    default: {
      // Divisors that may be zero somewhere have no value there; take positive ones.
      if (b.lowerBound().value_or(0) < 1)
        return {a, x};
      int64_t floor = *x / *y - (*x % *y != 0 && (*x < 0) != (*y < 0));
      if (op == 5)
        return {SymExpr::floorDiv(a, b), floor};
      if (op == 6)
        return {SymExpr::ceilDiv(a, b), floor + (*x % *y != 0)};
      return {SymExpr::mod(a, b), *x - floor * *y};
    }
    }
  }
};

TEST(SymExpr, CanonicalForm) {
  SymExpr b = SymExpr::symbol("batch"), s = SymExpr::symbol("sequence");
  EXPECT_EQ((b * s + s * b).str(), "2*batch*sequence");
  EXPECT_EQ((b + s) * (b - s), b * b - s * s);
  EXPECT_EQ((s - s).getConstant(), 0);
  EXPECT_EQ((s * SymExpr(0)).str(), "0");
  EXPECT_EQ((SymExpr(4) - s).str(), "-sequence + 4");
  EXPECT_EQ((s + SymExpr(1)).getConstant(), std::nullopt);
  EXPECT_EQ(s.getSymbol(), "sequence");
  EXPECT_EQ((s * SymExpr(2)).getSymbol(), std::nullopt);
  EXPECT_EQ(SymExpr::max(b, s).getSymbol(), std::nullopt);
}

TEST(SymExpr, UnknownEqualsNothing) {
  SymExpr u = SymExpr::unknown();
  EXPECT_FALSE(u == u);
  EXPECT_TRUE((u + SymExpr(1)).isUnknown());
  EXPECT_TRUE((u * SymExpr(0)).isUnknown());
  EXPECT_TRUE(SymExpr::max(u, 1).isUnknown());
  EXPECT_TRUE(parse("?").isUnknown());
  EXPECT_EQ(u.str(), "?");
}

TEST(SymExpr, Parse) {
  EXPECT_EQ(parse(" 2 * (a + 3) - -a ").str(), "3*a + 6");
  EXPECT_EQ(parse("floordiv(a + 1, 2)").str(), "floordiv(a + 1, 2)");
  EXPECT_EQ(parse("-9223372036854775807").getConstant(), -9223372036854775807);
  for (const char *bad :
       {"", "a +", "a b", "(a", "a)", "2a", "max(a)", "max(a, b", "a-", "9223372036854775808", "a.b", "max"})
    EXPECT_FALSE(SymExpr::parse(bad)) << bad;
  EXPECT_FALSE(SymExpr::parse(std::string(100000, '(')));
  EXPECT_FALSE(SymExpr::parse(std::string(100000, '-') + "a"));
}

TEST(SymExpr, SymbolNamesParseAgain) {
  for (const char *name : {"batch-size", "2d", "max", "", "a(b)", "unk__1"}) {
    SymExpr symbol = SymExpr::symbol(name);
    EXPECT_EQ(parse(symbol.str()), symbol) << name;
    EXPECT_TRUE(symbol.getSymbol());
  }
}

TEST(SymExpr, Division) {
  EXPECT_EQ(SymExpr::floorDiv(parse("12*s"), 4).str(), "3*s");
  EXPECT_EQ(SymExpr::floorDiv(parse("s*b*768"), parse("s*b")).getConstant(), 768);
  EXPECT_EQ(SymExpr::floorDiv(parse("a*a - b*b"), parse("a + b")).str(), "a - b");
  EXPECT_EQ(SymExpr::floorDiv(-7, 2).getConstant(), -4);
  EXPECT_EQ(SymExpr::ceilDiv(-7, 2).getConstant(), -3);
  EXPECT_EQ(SymExpr::mod(-7, 2).getConstant(), 1);
  // Multiples of the divisor come out, what is left is below it.
  EXPECT_EQ(SymExpr::floorDiv(parse("3*s + 7"), 2).str(), "floordiv(s + 1, 2) + s + 3");
  EXPECT_EQ(SymExpr::ceilDiv(parse("4*s + 1"), 4).str(), "s + 1");
  EXPECT_EQ(SymExpr::mod(parse("4*s + 6"), 4).getConstant(), 2);
  EXPECT_EQ(SymExpr::mod(parse("4*s"), 4).getConstant(), 0);
  EXPECT_TRUE(SymExpr::floorDiv(parse("s"), 0).isUnknown());
  EXPECT_TRUE(SymExpr::floorDiv(INT64_MIN, -1).isUnknown());
  EXPECT_FALSE(SymExpr::divideExactly(parse("s + 1"), 2));
}

TEST(SymExpr, MinMax) {
  EXPECT_EQ(SymExpr::max(parse("s"), 0).str(), "s");
  // A dimension may have no elements.
  EXPECT_EQ(SymExpr::max(parse("s"), 1).str(), "max(1, s)");
  EXPECT_EQ(SymExpr::max(parse("s + 3"), parse("s")).str(), "s + 3");
  EXPECT_EQ(SymExpr::min(parse("s + 3"), parse("s")).str(), "s");
  EXPECT_EQ(SymExpr::max(parse("b"), parse("a")).str(), "max(a, b)");
  // The order and nesting of arguments do not matter.
  EXPECT_EQ(SymExpr::max(parse("max(c, a)"), parse("b")), SymExpr::max(parse("max(b, c)"), parse("a")));
  EXPECT_EQ(SymExpr::max(parse("a"), parse("max(a, b)")).str(), "max(a, b)");
  EXPECT_EQ(SymExpr::min(parse("min(a, b + 1)"), parse("b")).str(), "min(a, b)");
  EXPECT_EQ(parse("min(a, 5)").lowerBound(), 0);
  EXPECT_EQ(parse("max(a - b, 0)").lowerBound(), 0);
}

TEST(SymExpr, LowerBound) {
  // An extremum against its own leaves.
  EXPECT_EQ(parse("max(a, b) - a").lowerBound(), 0);
  EXPECT_EQ(parse("2*max(a, b) - a - b").lowerBound(), std::nullopt);
  EXPECT_EQ(parse("3 + max(a, b + 2) - b").lowerBound(), 5);
  EXPECT_EQ(parse("a - min(a, b)").lowerBound(), 0);
  EXPECT_EQ(parse("min(a, b) - a").lowerBound(), std::nullopt);
  EXPECT_EQ(parse("a - max(a, b)").lowerBound(), std::nullopt);
  EXPECT_EQ(parse("2*a*b + 3").lowerBound(), 3);
  EXPECT_EQ(parse("a - 1").lowerBound(), -1);
  EXPECT_EQ(parse("a - b").lowerBound(), std::nullopt);
  EXPECT_EQ(parse("mod(a - b, 4)").lowerBound(), 0);
  EXPECT_EQ(parse("floordiv(a, 4)").lowerBound(), 0);
  EXPECT_EQ(parse("ceildiv(a, 4)").lowerBound(), 0);
  EXPECT_EQ(parse("4611686018427387904*a + 4611686018427387904*b").lowerBound(), 0);
}

TEST(SymExpr, OverflowIsUnknownOrNoValue) {
  SymExpr big(INT64_MAX);
  EXPECT_TRUE((big + SymExpr(1)).isUnknown());
  EXPECT_TRUE((big * SymExpr(2)).isUnknown());
  EXPECT_TRUE((SymExpr(INT64_MIN) * SymExpr(-1)).isUnknown());
  SymExpr s = SymExpr::symbol("s");
  EXPECT_EQ(evaluate(s * s, {{"s", int64_t(1) << 40}}), std::nullopt);
  EXPECT_EQ(evaluate(s + big, {{"s", 1}}), std::nullopt);
  EXPECT_EQ(evaluate(SymExpr::floorDiv(s, SymExpr::symbol("t")), {{"s", 1}, {"t", 0}}), std::nullopt);
  EXPECT_EQ(evaluate(s, {}), std::nullopt);
}

TEST(SymExpr, HostileSizesStayCheap) {
  // A product of sums, a chain of maxima, and deep nesting: unknown, but soon.
  SymExpr sum;
  for (int i = 0; i < 40; ++i)
    sum += SymExpr::symbol("s" + std::to_string(i));
  SymExpr power = sum * sum * sum * sum;
  EXPECT_TRUE(power.isUnknown());
  SymExpr largest(1), nested = SymExpr::symbol("s");
  for (int i = 0; i < 200; ++i)
    largest = SymExpr::max(largest, SymExpr::symbol("m" + std::to_string(i)));
  EXPECT_TRUE(largest.isUnknown());
  for (int i = 0; i < 200; ++i)
    nested = SymExpr::floorDiv(nested + SymExpr::symbol("t"), SymExpr::symbol("u"));
  EXPECT_TRUE(nested.isUnknown());
}

TEST(SymExpr, Properties) {
  Random random;
  for (int round = 0; round < 4000; ++round) {
    random.generator.seed(round);
    random.values = {{"a", random.number(0, 9)}, {"b", random.number(0, 9)}, {"seq", random.number(0, 40)}};
    auto [expr, value] = random.expr(4);
    if (expr.isUnknown())
      continue;
    SCOPED_TRACE("round " + std::to_string(round) + ": " + expr.str());
    EXPECT_EQ(evaluate(expr, random.values), value);
    EXPECT_EQ(parse(expr.str()), expr);
    EXPECT_EQ(parse(expr.str()).str(), expr.str());
    std::vector<SymExpr::Insn> code;
    expr.toPostfix(code);
    EXPECT_EQ(run(code, random.values), value);
    if (std::optional<int64_t> low = expr.lowerBound())
      EXPECT_LE(*low, *value);
    // Substituting every symbol gives the value itself.
    SymExpr substituted = expr.substitute(
        [&](llvm::StringRef name) -> std::optional<SymExpr> { return SymExpr(random.values.at(name.str())); });
    EXPECT_EQ(substituted.getConstant(), value);
    // A product divides by its factors.
    auto [factor, other] = random.expr(2);
    if (!factor.isUnknown() && !factor.isConstant(0) && !(expr * factor).isUnknown()) {
      std::optional<SymExpr> quotient = SymExpr::divideExactly(expr * factor, factor);
      ASSERT_TRUE(quotient) << factor.str();
      EXPECT_EQ(*quotient, expr) << factor.str();
    }
    EXPECT_EQ(expr + factor - factor, expr);
  }
}

TEST(SymExpr, CollectSymbols) {
  std::set<std::string> symbols;
  parse("max(a, floordiv(b, 2)) + c*a + 1").collectSymbols(symbols);
  EXPECT_EQ(symbols, (std::set<std::string>{"a", "b", "c"}));
}

} // namespace
