// Parsing and printing of size expressions.
#include "llmopt/Dialect/LM/IR/SymExpr.h"

#include "llvm/ADT/StringExtras.h"

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

} // namespace

/// expr := term (('+' | '-') term)*; term := factor ('*' factor)*;
/// factor := integer | name | name '(' expr ',' expr ')' | '(' expr ')' | '-' factor
class SymExpr::Parser {
public:
  /// `canonical`: calls are taken as atoms as they stand.
  Parser(StringRef text, bool canonical) : rest(text), canonical(canonical) {}

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
    if (++depth > 128)
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
    if (++depth > 128)
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
        return canonical ? verbatim(name) : arguments(call.op);
    return SymExpr::symbol(name);
  }

  /// `name` and its arguments up to the matching parenthesis, as one atom.
  std::optional<SymExpr> verbatim(StringRef name) {
    int open = 0;
    for (size_t i = 0; i < rest.size(); ++i) {
      open += rest[i] == '(' ? 1 : rest[i] == ')' ? -1 : 0;
      if (open > 0)
        continue;
      std::string text = (name + rest.take_front(i + 1)).str();
      rest = rest.drop_front(i + 1);
      return SymExpr::atom(std::move(text));
    }
    return std::nullopt;
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
  bool canonical;
  int depth = 0;
};

std::optional<SymExpr> SymExpr::parse(StringRef text) { return Parser(text, /*canonical=*/false).run(); }

SymExpr SymExpr::symbol(StringRef name) {
  std::string text = name.str();
  for (char &c : text)
    if (!llvm::isAlnum(c) && c != '_')
      c = '_';
  bool reserved = llvm::any_of(kCalls, [&](const CallName &call) { return text == call.name; });
  if (text.empty() || llvm::isDigit(text.front()) || reserved)
    text.insert(0, "_");
  return atom(std::move(text));
}

SymExpr SymExpr::call(Op op, const SymExpr &a, const SymExpr &b) {
  if (a.unknown_ || b.unknown_)
    return unknown();
  std::string text;
  for (const CallName &call : kCalls)
    if (call.op == op)
      text = call.name;
  text += "(" + a.str() + ", " + b.str() + ")";
  int nesting = 0, deepest = 0;
  for (char c : text) {
    nesting += c == '(' ? 1 : c == ')' ? -1 : 0;
    deepest = std::max(deepest, nesting);
  }
  return text.size() > maxAtomLength || deepest > maxNesting ? unknown() : atom(std::move(text));
}

bool SymExpr::splitCall(StringRef atom, Op &op, SymExpr &a, SymExpr &b) {
  auto [name, inner] = atom.split('(');
  if (!inner.consume_back(")"))
    return false;
  for (const CallName &call : kCalls)
    if (name == call.name)
      op = call.op;
  int open = 0;
  for (size_t i = 0; i < inner.size(); ++i) {
    open += inner[i] == '(' ? 1 : inner[i] == ')' ? -1 : 0;
    if (inner[i] != ',' || open != 0)
      continue;
    a = Parser(inner.take_front(i), /*canonical=*/true).run().value_or(unknown());
    b = Parser(inner.drop_front(i + 1), /*canonical=*/true).run().value_or(unknown());
    return true;
  }
  return false;
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
  std::sort(order.begin(), order.end(), [](auto *a, auto *b) {
    return a->first.size() != b->first.size() ? a->first.size() > b->first.size() : a->first < b->first;
  });
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
