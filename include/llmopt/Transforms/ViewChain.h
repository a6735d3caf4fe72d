// Chains of reshapes and transposes as one permutation.
//
// Splitting every dimension of the source into atoms (its factors that some
// reshape of the chain separates or some transpose moves) turns the whole chain
// into: reshape to the atoms, transpose them, reshape to the result. So any two
// chains that move elements alike become the same, and a chain that moves
// nothing disappears.
#ifndef LLMOPT_TRANSFORMS_VIEWCHAIN_H
#define LLMOPT_TRANSFORMS_VIEWCHAIN_H

#include "llmopt/Dialect/LM/IR/LM.h"

#include <optional>

namespace llmopt {

class ViewChain {
public:
  /// The longest chain that ends in `result` and whose reshapes split and merge
  /// dimensions at common factors; of length 0 where `result` is no view.
  static ViewChain compose(mlir::Value result);

  mlir::Value getSource() const { return source; }
  /// The number of reshapes and transposes between source and result.
  unsigned getLength() const { return ops.size(); }
  llvm::ArrayRef<mlir::Operation *> getOps() const { return ops; }
  lm::SymExpr getAtomSize(unsigned atom) const { return atoms[atom]; }
  /// The atoms of each dimension, outermost first; none for dimensions of size 1.
  llvm::ArrayRef<llvm::SmallVector<unsigned>> getSourceDims() const { return sourceDims; }
  llvm::ArrayRef<llvm::SmallVector<unsigned>> getResultDims() const { return resultDims; }

  /// How many operations `emit` would create.
  unsigned getEmittedLength() const;
  /// The result computed anew from the source, with as few operations as possible.
  mlir::Value emit(mlir::OpBuilder &builder, mlir::Location loc) const;

private:
  using Groups = llvm::SmallVector<llvm::SmallVector<unsigned>>;
  bool regroup(llvm::ArrayRef<lm::SymExpr> dims, Groups &current);
  void split(unsigned atom, const lm::SymExpr &inner, Groups &current);

  struct Emission {
    llvm::SmallVector<lm::SymExpr> before; // shape to transpose
    llvm::SmallVector<int64_t> perm;       // empty: no transpose
    llvm::SmallVector<lm::SymExpr> after;  // shape after transposing
  };
  Emission getEmission() const;
  Emission computeEmission(bool mergeAcrossDims) const;
  unsigned countOps(const Emission &emission) const;

  mlir::Value source;
  mlir::Type resultType;
  llvm::SmallVector<mlir::Operation *> ops; // last first
  llvm::SmallVector<lm::SymExpr> atoms;
  Groups sourceDims, resultDims;
};

} // namespace llmopt

#endif
