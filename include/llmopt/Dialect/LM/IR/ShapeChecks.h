// What verifiers ask of dimensions that may be symbolic.
#ifndef LLMOPT_DIALECT_LM_IR_SHAPECHECKS_H
#define LLMOPT_DIALECT_LM_IR_SHAPECHECKS_H

#include "llmopt/Dialect/LM/IR/SymExpr.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLExtras.h"

namespace llmopt::lm {

/// Whether two dimensions are known to differ. Symbolic ones are checked when
/// shapes are bound.
inline bool mayDiffer(const SymExpr &a, const SymExpr &b) {
  return a.getConstant() && b.getConstant() && *a.getConstant() != *b.getConstant();
}

/// The same of two shapes.
inline bool mayDiffer(llvm::ArrayRef<SymExpr> a, llvm::ArrayRef<SymExpr> b) {
  if (a.size() != b.size())
    return true;
  for (auto [x, y] : llvm::zip(a, b))
    if (mayDiffer(x, y))
      return true;
  return false;
}

} // namespace llmopt::lm

#endif
