// Canonical integer polynomials; parsing, printing, simplification, evaluation.
#include "llmopt/Dialect/LM/IR/SymExpr.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>
#include <array>

using namespace llmopt::lm;
using llvm::StringRef;

namespace {

struct CallName {
  SymExpr::Op op;
  const char *name;
};
constexpr std::array<CallName, 5> kCalls = {{{SymExpr::Op::FloorDiv, "floordiv"},
                                             {SymExpr::Op::CeilDiv, "ceildiv"},
                                             {SymExpr::Op::Mod, "mod"},
                                             {SymExpr::Op::Min, "min"},
                                             {SymExpr::Op::Max, "max"}}};

const char *callName(SymExpr::Op op) {
  for (const CallName &call : kCalls)
    if (call.op == op)
      return call.name;
  return nullptr;
}

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

/// expr := term (('+' | '-') term)*; term := factor ('*' factor)*;
/// factor := integer | name | name '(' expr ',' expr ')' | '(' expr ')' | '-' factor
class Parser {
public:
  explicit Parser(StringRef text) : rest(text) {}

  std::optional<SymExpr> run() {
    std::optional<SymExpr> e = expr();
    skip();
    return rest.empty() ? e : std::nullopt;
  }

private:
  void skip() { rest = rest.ltrim(); }
  bool eat(char c) {
    skip();
    return rest.consume_front(StringRef(&c, 1));
  }

  std::optional<SymExpr> expr() {
    if (++depth > 64)
      return std::nullopt;
    std::optional<SymExpr> sum = term();
    while (sum) {
      bool plus = eat('+');
      if (!plus && !eat('-'))
        break;
      std::optional<SymExpr> next = term();
      if (!next)
        return std::nullopt;
      sum = plus ? *sum + *next : *sum - *next;
    }
    --depth;
    return sum;
  }

  std::optional<SymExpr> term() {
    std::optional<SymExpr> value = factor();
    while (value && eat('*')) {
      std::optional<SymExpr> next = factor();
      if (!next)
        return std::nullopt;
      value = *value * *next;
    }
    return value;
  }

  std::optional<SymExpr> factor() {
    if (++depth > 64)
      return std::nullopt;
    std::optional<SymExpr> value = primary();
    --depth;
    return value;
  }

  std::optional<SymExpr> primary() {
    skip();
    if (eat('?'))
      return SymExpr::unknown();
    if (eat('-')) {
      std::optional<SymExpr> value = factor();
      return value ? std::optional(SymExpr(0) - *value) : std::nullopt;
    }
    if (eat('(')) {
      std::optional<SymExpr> value = expr();
      return value && eat(')') ? value : std::nullopt;
    }
    if (!rest.empty() && llvm::isDigit(rest.front())) {
      int64_t value;
      StringRef digits = rest.take_while(llvm::isDigit);
      if (digits.getAsInteger(10, value))
        return std::nullopt;
      rest = rest.drop_front(digits.size());
      return SymExpr(value);
    }
    StringRef name = rest.take_while([](char c) { return llvm::isAlnum(c) || c == '_'; });
    if (name.empty())
      return std::nullopt;
    rest = rest.drop_front(name.size());
    for (const CallName &call : kCalls)
      if (name == call.name)
        return arguments(call.op);
    return SymExpr::symbol(name);
  }

  std::optional<SymExpr> arguments(SymExpr::Op op) {
    if (!eat('('))
      return std::nullopt;
    std::optional<SymExpr> a = expr();
    if (!a || !eat(','))
      return std::nullopt;
    std::optional<SymExpr> b = expr();
    if (!b || !eat(')'))
      return std::nullopt;
    switch (op) {
    case SymExpr::Op::FloorDiv:
      return SymExpr::floorDiv(*a, *b);
    case SymExpr::Op::CeilDiv:
      return SymExpr::ceilDiv(*a, *b);
    case SymExpr::Op::Mod:
      return SymExpr::mod(*a, *b);
    case SymExpr::Op::Min:
      return SymExpr::min(*a, *b);
    default:
      return SymExpr::max(*a, *b);
    }
  }

  StringRef rest;
  int depth = 0;
};

/// Splits the text of an opaque atom into its operation and arguments; false
/// for a plain symbol.
bool splitCall(StringRef atom, SymExpr::Op &op, SymExpr &a, SymExpr &b) {
  size_t open = atom.find('(');
  if (open == StringRef::npos)
    return false;
  for (const CallName &call : kCalls)
    if (atom.take_front(open) == call.name)
      op = call.op;
  StringRef inner = atom.drop_front(open + 1).drop_back();
  int depth = 0;
  for (size_t i = 0; i < inner.size(); ++i) {
    depth += inner[i] == '(' ? 1 : inner[i] == ')' ? -1 : 0;
    if (inner[i] == ',' && depth == 0) {
      a = *SymExpr::parse(inner.take_front(i));
      b = *SymExpr::parse(inner.drop_front(i + 1));
      return true;
    }
  }
  return false;
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

SymExpr SymExpr::symbol(StringRef name) { return atom(name.str()); }

SymExpr SymExpr::unknown() {
  SymExpr e;
  e.unknown_ = true;
  return e;
}

SymExpr SymExpr::call(Op op, const SymExpr &a, const SymExpr &b) {
  return atom(std::string(callName(op)) + "(" + a.str() + ", " + b.str() + ")");
}

std::optional<SymExpr> SymExpr::parse(StringRef text) { return Parser(text).run(); }

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
  return sum;
}

SymExpr operator-(const SymExpr &a, const SymExpr &b) { return a + SymExpr(-1) * b; }

SymExpr operator*(const SymExpr &a, const SymExpr &b) {
  if (a.unknown_ || b.unknown_)
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

std::optional<SymExpr> SymExpr::divideExactly(const SymExpr &a, const SymExpr &b) {
  if (a.unknown_ || b.unknown_ || b.terms.empty())
    return std::nullopt;
  if (a == b)
    return SymExpr(1);
  // Long division by the last (in map order) term of b; every step removes the
  // matching term of the remainder, and exactness is checked at the end.
  SymExpr remainder = a, quotient;
  const auto &lead = *b.terms.rbegin();
  for (int step = 0; step < 256 && !remainder.terms.empty(); ++step) {
    bool divided = false;
    for (auto it = remainder.terms.rbegin(); it != remainder.terms.rend() && !divided; ++it) {
      if (it->second % lead.second != 0 ||
          !std::includes(it->first.begin(), it->first.end(), lead.first.begin(), lead.first.end()))
        continue;
      SymExpr part;
      Monomial rest;
      std::set_difference(it->first.begin(), it->first.end(), lead.first.begin(), lead.first.end(),
                          std::back_inserter(rest));
      part.terms[rest] = it->second / lead.second;
      quotient = quotient + part;
      remainder = remainder - part * b;
      divided = true;
    }
    if (!divided || remainder.unknown_)
      return std::nullopt;
  }
  return remainder.terms.empty() ? std::optional(quotient) : std::nullopt;
}

std::optional<int64_t> SymExpr::lowerBound() const {
  if (unknown_)
    return std::nullopt;
  int64_t bound = 0;
  for (const auto &[monomial, coefficient] : terms) {
    if (coefficient < 0 && !monomial.empty())
      return std::nullopt;
    // A plain symbol is at least 1; an opaque atom is bounded only as far as its
    // arguments tell.
    int64_t low = 1;
    for (const std::string &name : monomial) {
      Op op;
      SymExpr a, b;
      int64_t atomLow = 1;
      if (splitCall(name, op, a, b)) {
        std::optional<int64_t> la = a.lowerBound(), lb = b.lowerBound();
        if (op == Op::Max && (la || lb))
          atomLow = std::max(la.value_or(INT64_MIN), lb.value_or(INT64_MIN));
        else if (op == Op::Min && la && lb)
          atomLow = std::min(*la, *lb);
        else if ((op == Op::FloorDiv || op == Op::Mod) && la && *la >= 0 && lb && *lb > 0)
          atomLow = 0;
        else if (op == Op::CeilDiv && la && *la >= 0 && lb && *lb > 0)
          atomLow = *la > 0 ? 1 : 0;
        else
          return std::nullopt;
      }
      if (atomLow < 0)
        return std::nullopt;
      low *= atomLow;
    }
    bound += low * coefficient;
  }
  return bound;
}

SymExpr SymExpr::floorDiv(const SymExpr &a, const SymExpr &b) {
  if (a.unknown_ || b.unknown_ || b.isConstant(0))
    return unknown();
  if (std::optional<int64_t> ca = a.getConstant(), cb = b.getConstant(); ca && cb) {
    std::optional<int64_t> value = apply(Op::FloorDiv, *ca, *cb);
    return value ? SymExpr(*value) : unknown();
  }
  if (std::optional<SymExpr> exact = divideExactly(a, b))
    return *exact;
  return call(Op::FloorDiv, a, b);
}

SymExpr SymExpr::ceilDiv(const SymExpr &a, const SymExpr &b) {
  if (a.unknown_ || b.unknown_ || b.isConstant(0))
    return unknown();
  if (std::optional<int64_t> ca = a.getConstant(), cb = b.getConstant(); ca && cb) {
    std::optional<int64_t> value = apply(Op::CeilDiv, *ca, *cb);
    return value ? SymExpr(*value) : unknown();
  }
  if (std::optional<SymExpr> exact = divideExactly(a, b))
    return *exact;
  return call(Op::CeilDiv, a, b);
}

SymExpr SymExpr::mod(const SymExpr &a, const SymExpr &b) {
  if (a.unknown_ || b.unknown_ || b.isConstant(0))
    return unknown();
  if (std::optional<int64_t> ca = a.getConstant(), cb = b.getConstant(); ca && cb) {
    std::optional<int64_t> value = apply(Op::Mod, *ca, *cb);
    return value ? SymExpr(*value) : unknown();
  }
  if (divideExactly(a, b))
    return 0;
  return call(Op::Mod, a, b);
}

SymExpr SymExpr::min(const SymExpr &a, const SymExpr &b) {
  if (a.unknown_ || b.unknown_)
    return unknown();
  if (std::optional<int64_t> low = (a - b).lowerBound(); low && *low >= 0)
    return b;
  if (std::optional<int64_t> low = (b - a).lowerBound(); low && *low >= 0)
    return a;
  return a.str() < b.str() ? call(Op::Min, a, b) : call(Op::Min, b, a);
}

SymExpr SymExpr::max(const SymExpr &a, const SymExpr &b) {
  if (a.unknown_ || b.unknown_)
    return unknown();
  if (std::optional<int64_t> low = (a - b).lowerBound(); low && *low >= 0)
    return a;
  if (std::optional<int64_t> low = (b - a).lowerBound(); low && *low >= 0)
    return b;
  return a.str() < b.str() ? call(Op::Max, a, b) : call(Op::Max, b, a);
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
      value *= op == Op::FloorDiv  ? floorDiv(a, b)
               : op == Op::CeilDiv ? ceilDiv(a, b)
               : op == Op::Mod     ? mod(a, b)
               : op == Op::Min     ? min(a, b)
                                   : max(a, b);
    }
    result += value;
  }
  return result;
}

std::optional<int64_t>
SymExpr::evaluate(llvm::function_ref<std::optional<int64_t>(StringRef)> lookup) const {
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

std::string SymExpr::str() const {
  if (unknown_)
    return "?";
  if (terms.empty())
    return "0";
  // Highest degree first reads naturally: "2*batch*sequence + 4".
  std::vector<const std::pair<const Monomial, int64_t> *> order;
  for (const auto &term : terms)
    order.push_back(&term);
  std::stable_sort(order.begin(), order.end(),
                   [](auto *a, auto *b) { return a->first.size() > b->first.size(); });
  std::string text;
  for (const auto *term : order) {
    uint64_t magnitude = term->second < 0 ? 0 - uint64_t(term->second) : uint64_t(term->second);
    text += text.empty() ? (term->second < 0 ? "-" : "") : (term->second < 0 ? " - " : " + ");
    bool star = false;
    if (magnitude != 1 || term->first.empty()) {
      text += std::to_string(magnitude);
      star = true;
    }
    for (const std::string &name : term->first) {
      text += (star ? "*" : "") + name;
      star = true;
    }
  }
  return text;
}
