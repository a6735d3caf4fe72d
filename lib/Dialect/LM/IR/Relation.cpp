#include "llmopt/Dialect/LM/IR/Relation.h"

using namespace llmopt::lm;
using llvm::StringRef;

std::optional<Relation> Relation::parse(StringRef text) {
  for (StringRef relation : {"<=", ">=", "==", "<", ">"}) {
    size_t at = text.find(relation);
    if (at == StringRef::npos)
      continue;
    std::optional<SymExpr> lhs = SymExpr::parse(text.take_front(at).trim());
    std::optional<SymExpr> rhs = SymExpr::parse(text.drop_front(at + relation.size()).trim());
    if (!lhs || !rhs || lhs->isUnknown() || rhs->isUnknown())
      return std::nullopt;
    if (relation.starts_with(">"))
      std::swap(lhs, rhs);
    if (relation.size() == 1)
      lhs = *lhs + SymExpr(1);
    return Relation{*lhs, *rhs, relation == "=="};
  }
  return std::nullopt;
}

std::optional<bool> Relation::holds() const {
  std::optional<int64_t> a = lhs.getConstant(), b = rhs.getConstant();
  if (!a || !b)
    return std::nullopt;
  return isEqual ? *a == *b : *a <= *b;
}

std::string Relation::str() const { return lhs.str() + (isEqual ? " == " : " <= ") + rhs.str(); }
