// What must hold of sizes, as text: the entries of `lm.constraints`.
#ifndef LLMOPT_DIALECT_LM_IR_RELATION_H
#define LLMOPT_DIALECT_LM_IR_RELATION_H

#include "llmopt/Dialect/LM/IR/SymExpr.h"

namespace llmopt::lm {

/// lhs <= rhs, or lhs == rhs.
struct Relation {
  SymExpr lhs, rhs;
  bool isEqual = false;

  /// "sequence <= 512", "a == b", and with >=, < and >, which are turned into <=;
  /// nullopt for anything else.
  static std::optional<Relation> parse(llvm::StringRef text);

  /// nullopt while a side is not a number.
  std::optional<bool> holds() const;
  std::string str() const;
};

} // namespace llmopt::lm

#endif
