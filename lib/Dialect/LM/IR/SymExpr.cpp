// Canonical integer polynomials: arithmetic, simplification, evaluation. Their
// texts are in SymExprText.cpp.
#include "llmopt/Dialect/LM/IR/SymExpr.h"

#include "llvm/Support/MathExtras.h"
#include "llvm/Support/SaveAndRestore.h"

#include <algorithm>

using namespace llmopt::lm;
using llvm::StringRef;

namespace {

int64_t floorDivInt(int64_t a, int64_t b) {
  int64_t q = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}

/// The value of one operation, nullopt on overflow or division by zero.
std::optional<int64_t> apply(SymExpr::Op op, int64_t a, int64_t b) {
  int64_t r = 0;
  switch (op) {
  case SymExpr::Op::Add:
    return llvm::AddOverflow(a, b, r) ? std::nullopt : std::optional(r);
  case SymExpr::Op::Mul:
    return llvm::MulOverflow(a, b, r) ? std::nullopt : std::optional(r);
  case SymExpr::Op::FloorDiv:
  case SymExpr::Op::CeilDiv:
  case SymExpr::Op::Mod: {
    if (b == 0 || (a == INT64_MIN && b == -1))
      return std::nullopt;
    int64_t q = floorDivInt(a, b);
    if (op == SymExpr::Op::FloorDiv)
      return q;
    if (op == SymExpr::Op::Mod)
      return a - q * b;
    return a % b == 0 ? q : q + 1;
  }
  case SymExpr::Op::Min:
    return std::min(a, b);
  case SymExpr::Op::Max:
    return std::max(a, b);
  case SymExpr::Op::Const:
  case SymExpr::Op::Symbol:
    break;
  }
  return std::nullopt;
}

} // namespace

SymExpr::SymExpr(int64_t value) {
  if (value != 0)
    terms[{}] = value;
}

SymExpr SymExpr::atom(std::string name) {
  SymExpr e;
  e.terms[{std::move(name)}] = 1;
  return e;
}

SymExpr SymExpr::unknown() {
  SymExpr e;
  e.unknown_ = true;
  return e;
}

std::optional<int64_t> SymExpr::getConstant() const {
  if (unknown_)
    return std::nullopt;
  if (terms.empty())
    return 0;
  if (terms.size() == 1 && terms.begin()->first.empty())
    return terms.begin()->second;
  return std::nullopt;
}

std::optional<std::string> SymExpr::getSymbol() const {
  if (unknown_ || terms.size() != 1 || terms.begin()->second != 1 || terms.begin()->first.size() != 1)
    return std::nullopt;
  const std::string &name = terms.begin()->first.front();
  return name.find('(') == std::string::npos ? std::optional(name) : std::nullopt;
}

namespace llmopt::lm {

SymExpr operator+(const SymExpr &a, const SymExpr &b) {
  if (a.unknown_ || b.unknown_)
    return SymExpr::unknown();
  SymExpr sum = a;
  for (const auto &[monomial, coefficient] : b.terms) {
    int64_t &slot = sum.terms[monomial];
    if (llvm::AddOverflow(slot, coefficient, slot))
      return SymExpr::unknown();
    if (slot == 0)
      sum.terms.erase(monomial);
  }
  if (sum.terms.size() > SymExpr::maxTerms)
    return SymExpr::unknown();
  return sum;
}

SymExpr operator-(const SymExpr &a, const SymExpr &b) { return a + SymExpr(-1) * b; }

SymExpr operator*(const SymExpr &a, const SymExpr &b) {
  if (a.unknown_ || b.unknown_)
    return SymExpr::unknown();
  if (a.terms.size() * b.terms.size() > SymExpr::maxTerms)
    return SymExpr::unknown();
  SymExpr result;
  for (const auto &[ma, ca] : a.terms)
    for (const auto &[mb, cb] : b.terms) {
      SymExpr::Monomial monomial = ma;
      monomial.insert(monomial.end(), mb.begin(), mb.end());
      std::sort(monomial.begin(), monomial.end());
      int64_t coefficient;
      int64_t &slot = result.terms[monomial];
      if (llvm::MulOverflow(ca, cb, coefficient) || llvm::AddOverflow(slot, coefficient, slot))
        return SymExpr::unknown();
      if (slot == 0)
        result.terms.erase(monomial);
    }
  return result;
}

SymExpr product(llvm::ArrayRef<SymExpr> dims) {
  SymExpr result(1);
  for (const SymExpr &dim : dims)
    result *= dim;
  return result;
}

} // namespace llmopt::lm

/// The leading term in graded lexicographic order, which products respect.
template <typename Terms> static auto leadingTerm(const Terms &terms) {
  auto lead = terms.begin();
  for (auto it = terms.begin(); it != terms.end(); ++it)
    if (it->first.size() > lead->first.size())
      lead = it;
  return lead;
}

std::optional<SymExpr> SymExpr::divideExactly(const SymExpr &a, const SymExpr &b) {
  if (a.unknown_ || b.unknown_ || b.terms.empty())
    return std::nullopt;
  SymExpr remainder = a, quotient;
  auto lead = leadingTerm(b.terms);
  while (!remainder.terms.empty()) {
    auto top = leadingTerm(remainder.terms);
    bool overflows = top->second == INT64_MIN && lead->second == -1;
    if (overflows || top->second % lead->second != 0 ||
        !std::includes(top->first.begin(), top->first.end(), lead->first.begin(), lead->first.end()))
      return std::nullopt;
    SymExpr part;
    Monomial rest;
    std::set_difference(top->first.begin(), top->first.end(), lead->first.begin(), lead->first.end(),
                        std::back_inserter(rest));
    part.terms[rest] = top->second / lead->second;
    quotient += part;
    remainder = remainder - part * b;
    if (remainder.unknown_ || quotient.unknown_)
      return std::nullopt;
  }
  return quotient;
}

std::optional<int64_t> SymExpr::lowerBound() const {
  if (unknown_)
    return std::nullopt;
  // max(x, y) - x is at least x - x, and y - x: where the terms say nothing, an
  // extremum is replaced by each of its leaves, which it is never below (above).
  // One at a time: all of a nest would take exponential time.
  static thread_local bool isSubstituting = false;
  auto bySubstitution = [&]() -> std::optional<int64_t> {
    std::optional<int64_t> best;
    if (isSubstituting)
      return best;
    llvm::SaveAndRestore<bool> guard(isSubstituting, true);
    for (const auto &[monomial, coefficient] : terms) {
      Op op;
      SymExpr a, b;
      if (monomial.size() != 1 || !splitCall(monomial.front(), op, a, b) || op != (coefficient > 0 ? Op::Max : Op::Min))
        continue;
      SymExpr rest = *this;
      rest.terms.erase(monomial);
      for (const SymExpr &leaf : {a, b})
        if (std::optional<int64_t> bound = (rest + SymExpr(coefficient) * leaf).lowerBound())
          best = std::max(best.value_or(*bound), *bound);
    }
    return best;
  };
  int64_t bound = 0;
  for (const auto &[monomial, coefficient] : terms) {
    if (coefficient < 0 && !monomial.empty())
      return bySubstitution();
    // A plain symbol is at least 0; an opaque atom is bounded only as far as its
    // arguments tell.
    int64_t low = coefficient;
    for (const std::string &name : monomial) {
      Op op;
      SymExpr a, b;
      int64_t atomLow = 0;
      if (splitCall(name, op, a, b)) {
        std::optional<int64_t> la = a.lowerBound(), lb = b.lowerBound();
        bool divides = lb && *lb >= 0; // by 0 there is no value that a bound could be wrong of
        if (op == Op::Max && (la || lb))
          atomLow = std::max(la.value_or(INT64_MIN), lb.value_or(INT64_MIN));
        else if (op == Op::Min && la && lb)
          atomLow = std::min(*la, *lb);
        else if (op == Op::Mod && divides)
          atomLow = 0;
        else if ((op == Op::FloorDiv || op == Op::CeilDiv) && divides && la && *la >= 0)
          atomLow = op == Op::CeilDiv && *la > 0 ? 1 : 0;
        else
          return std::nullopt;
      }
      if (atomLow < 0 || llvm::MulOverflow(low, atomLow, low))
        return std::nullopt;
    }
    if (llvm::AddOverflow(bound, low, bound))
      return std::nullopt;
  }
  return bound;
}

void SymExpr::splitMultiple(const SymExpr &a, int64_t divisor, SymExpr &multiple, SymExpr &rest) {
  for (const auto &[monomial, coefficient] : a.terms) {
    int64_t q = floorDivInt(coefficient, divisor), r = coefficient - q * divisor;
    if (q)
      multiple.terms[monomial] = q;
    if (r)
      rest.terms[monomial] = r;
  }
}

SymExpr SymExpr::divide(Op op, const SymExpr &a, const SymExpr &b) {
  if (a.unknown_ || b.unknown_ || b.isConstant(0))
    return unknown();
  std::optional<int64_t> ca = a.getConstant(), cb = b.getConstant();
  if (ca && cb) {
    std::optional<int64_t> value = apply(op, *ca, *cb);
    return value ? SymExpr(*value) : unknown();
  }
  if (std::optional<SymExpr> exact = divideExactly(a, b))
    return op == Op::Mod ? SymExpr(0) : *exact;
  if (!cb || *cb < 0)
    return call(op, a, b);
  // (c x + r) / c = x + r / c, rounded either way.
  SymExpr multiple, rest;
  splitMultiple(a, *cb, multiple, rest);
  SymExpr part = rest.getConstant() ? divide(op, rest, b) : call(op, rest, b);
  return op == Op::Mod ? part : multiple + part;
}

SymExpr SymExpr::floorDiv(const SymExpr &a, const SymExpr &b) { return divide(Op::FloorDiv, a, b); }
SymExpr SymExpr::ceilDiv(const SymExpr &a, const SymExpr &b) { return divide(Op::CeilDiv, a, b); }
SymExpr SymExpr::mod(const SymExpr &a, const SymExpr &b) { return divide(Op::Mod, a, b); }
SymExpr SymExpr::min(const SymExpr &a, const SymExpr &b) { return extremum(Op::Min, a, b); }
SymExpr SymExpr::max(const SymExpr &a, const SymExpr &b) { return extremum(Op::Max, a, b); }

void SymExpr::collectLeaves(Op op, const SymExpr &expr, std::vector<SymExpr> &leaves) {
  Op inner;
  SymExpr a, b;
  bool single = expr.terms.size() == 1 && expr.terms.begin()->second == 1 && expr.terms.begin()->first.size() == 1;
  if (single && splitCall(expr.terms.begin()->first.front(), inner, a, b) && inner == op) {
    collectLeaves(op, a, leaves);
    collectLeaves(op, b, leaves);
    return;
  }
  leaves.push_back(expr);
}

/// Nested minima (maxima) become one sorted list without leaves that another one
/// bounds, nested to the right.
SymExpr SymExpr::extremum(Op op, const SymExpr &a, const SymExpr &b) {
  if (a.unknown_ || b.unknown_)
    return unknown();
  std::vector<SymExpr> leaves, kept;
  collectLeaves(op, a, leaves);
  collectLeaves(op, b, leaves);
  auto bounds = [&](const SymExpr &winner, const SymExpr &other) {
    return (op == Op::Max ? winner - other : other - winner).lowerBound().value_or(-1) >= 0;
  };
  for (size_t i = 0; i < leaves.size(); ++i) {
    bool wins = true;
    for (size_t j = 0; j < leaves.size() && wins; ++j)
      // Of leaves that bound each other the first stays.
      wins = i == j || !bounds(leaves[j], leaves[i]) || (i < j && bounds(leaves[i], leaves[j]));
    if (wins)
      kept.push_back(leaves[i]);
  }
  std::sort(kept.begin(), kept.end(), [](const SymExpr &x, const SymExpr &y) { return x.str() < y.str(); });
  SymExpr result = kept.back();
  for (size_t i = kept.size() - 1; i-- > 0;)
    result = call(op, kept[i], result);
  return result;
}

SymExpr SymExpr::substitute(llvm::function_ref<std::optional<SymExpr>(StringRef)> lookup) const {
  if (unknown_)
    return *this;
  SymExpr result;
  for (const auto &[monomial, coefficient] : terms) {
    SymExpr value(coefficient);
    for (const std::string &name : monomial) {
      Op op;
      SymExpr a, b;
      if (!splitCall(name, op, a, b)) {
        value *= lookup(name).value_or(symbol(name));
        continue;
      }
      a = a.substitute(lookup);
      b = b.substitute(lookup);
      value *= combine(op, a, b);
    }
    result += value;
  }
  return result;
}

SymExpr SymExpr::combine(Op op, const SymExpr &a, const SymExpr &b) {
  return op == Op::FloorDiv  ? floorDiv(a, b)
         : op == Op::CeilDiv ? ceilDiv(a, b)
         : op == Op::Mod     ? mod(a, b)
         : op == Op::Min     ? min(a, b)
                             : max(a, b);
}

/// Above or below this expression, by intervals: sizes are not negative, so a
/// product grows with its factors.
SymExpr SymExpr::extreme(bool upper, llvm::function_ref<std::optional<SymExpr>(StringRef)> lookup) const {
  if (unknown_)
    return *this;
  SymExpr result;
  for (const auto &[monomial, coefficient] : terms) {
    bool up = (coefficient > 0) == upper;
    SymExpr value(coefficient);
    for (const std::string &name : monomial) {
      Op op;
      SymExpr a, b;
      if (!splitCall(name, op, a, b)) {
        std::optional<SymExpr> known = lookup(name);
        value *= !known ? symbol(name) : up ? *known : SymExpr(0);
        continue;
      }
      SymExpr highA = a.extreme(up, lookup), sameB = b.extreme(up, lookup), otherB = b.extreme(!up, lookup);
      if (op == Op::Min || op == Op::Max)
        value *= combine(op, highA, sameB);
      else if (highA == a && otherB == b)
        value *= combine(op, a, b);
      else if (op == Op::Mod)
        value *= up ? min(highA, sameB - SymExpr(1)) : SymExpr(0);
      else
        value *= combine(op, highA, otherB);
    }
    result += value;
  }
  return result;
}

SymExpr SymExpr::upperBound(llvm::function_ref<std::optional<SymExpr>(StringRef)> lookup) const {
  return extreme(true, lookup);
}

std::optional<int64_t> SymExpr::evaluate(llvm::function_ref<std::optional<int64_t>(StringRef)> lookup) const {
  if (unknown_)
    return std::nullopt;
  int64_t sum = 0;
  for (const auto &[monomial, coefficient] : terms) {
    int64_t value = coefficient;
    for (const std::string &name : monomial) {
      Op op;
      SymExpr a, b;
      std::optional<int64_t> factor;
      if (splitCall(name, op, a, b)) {
        std::optional<int64_t> va = a.evaluate(lookup), vb = b.evaluate(lookup);
        if (va && vb)
          factor = apply(op, *va, *vb);
      } else {
        factor = lookup(name);
      }
      if (!factor || llvm::MulOverflow(value, *factor, value))
        return std::nullopt;
    }
    if (llvm::AddOverflow(sum, value, sum))
      return std::nullopt;
  }
  return sum;
}

void SymExpr::collectSymbols(std::set<std::string> &symbols) const {
  for (const auto &[monomial, coefficient] : terms)
    for (const std::string &name : monomial) {
      Op op;
      SymExpr a, b;
      if (splitCall(name, op, a, b)) {
        a.collectSymbols(symbols);
        b.collectSymbols(symbols);
      } else {
        symbols.insert(name);
      }
    }
}

void SymExpr::toPostfix(std::vector<Insn> &code) const {
  if (terms.empty()) {
    code.push_back({Op::Const, 0, ""});
    return;
  }
  bool first = true;
  for (const auto &[monomial, coefficient] : terms) {
    bool pushed = false;
    if (coefficient != 1 || monomial.empty()) {
      code.push_back({Op::Const, coefficient, ""});
      pushed = true;
    }
    for (const std::string &name : monomial) {
      Op op;
      SymExpr a, b;
      if (splitCall(name, op, a, b)) {
        a.toPostfix(code);
        b.toPostfix(code);
        code.push_back({op, 0, ""});
      } else {
        code.push_back({Op::Symbol, 0, name});
      }
      if (pushed)
        code.push_back({Op::Mul, 0, ""});
      pushed = true;
    }
    if (!first)
      code.push_back({Op::Add, 0, ""});
    first = false;
  }
}
