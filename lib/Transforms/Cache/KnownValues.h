// What integers and masks are at symbolic positions, where that follows from
// iotas, constants and shapes, given what some inputs stand for.
#ifndef LLMOPT_LIB_TRANSFORMS_CACHE_KNOWNVALUES_H
#define LLMOPT_LIB_TRANSFORMS_CACHE_KNOWNVALUES_H

#include "llmopt/Dialect/LM/IR/LM.h"

#include <map>
#include <optional>

namespace llmopt {

/// What an input of integers is taken for.
struct Meaning {
  enum Kind {
    Tokens,   ///< `past` and `offset` more, every element
    Position, ///< where the new tokens are: past, past + 1.. along the last axis
    Ones,     ///< a mask that keeps everything
  } kind;
  lm::SymExpr offset;
};

/// One element: an integer (booleans are 0 and 1), a number, or nothing known.
struct Element {
  std::optional<lm::SymExpr> integer;
  std::optional<double> number;
};

class KnownValues {
public:
  using Point = llvm::SmallVector<lm::SymExpr>;

  /// `past` tokens; it may be zero, so its name begins with `count_`.
  explicit KnownValues(lm::SymExpr past) : past(std::move(past)) {}

  void bind(mlir::BlockArgument argument, Meaning meaning) { meanings[argument] = std::move(meaning); }
  void forget(mlir::BlockArgument argument) { meanings.erase(argument); }
  bool isBound(mlir::BlockArgument argument) const { return meanings.count(argument); }
  /// A symbol of the function stands for an expression.
  void substitute(llvm::StringRef symbol, lm::SymExpr expr) { symbols[symbol.str()] = std::move(expr); }
  void forgetSymbol(llvm::StringRef symbol) { symbols.erase(symbol.str()); }
  lm::SymExpr apply(const lm::SymExpr &expr) const;

  /// An index in [0, size), new with every call.
  lm::SymExpr makeIndex(const lm::SymExpr &size);
  Point makePoint(llvm::ArrayRef<lm::SymExpr> dims);

  /// Whether a <= b at every index that they contain.
  bool isAtMost(const lm::SymExpr &a, const lm::SymExpr &b) const;
  std::optional<bool> isLess(const lm::SymExpr &a, const lm::SymExpr &b) const;

  /// Before each proof.
  void refill() { budget = kBudget; }

  Element at(mlir::Value value, llvm::ArrayRef<lm::SymExpr> point);
  std::optional<lm::SymExpr> integerAt(mlir::Value value, llvm::ArrayRef<lm::SymExpr> point) {
    return at(value, point).integer;
  }
  std::optional<bool> truthAt(mlir::Value value, llvm::ArrayRef<lm::SymExpr> point);
  /// Whether a mask leaves this key out for certain.
  bool isMaskedAt(mlir::Value mask, llvm::ArrayRef<lm::SymExpr> point);

  /// Where the element of a view, concatenation, selection, gather or scatter comes
  /// from: one step back. False where that is not known, or `value` is none.
  bool stepBack(mlir::Value &value, Point &point);

private:
  Element compute(mlir::Operation *op, mlir::Value value, llvm::ArrayRef<lm::SymExpr> point);
  Element constantAt(mlir::Attribute attr, llvm::ArrayRef<lm::SymExpr> point) const;
  bool scatterStep(mlir::Value &value, Point &point);

  lm::SymExpr past;
  llvm::DenseMap<mlir::Value, Meaning> meanings;
  std::map<std::string, lm::SymExpr> symbols, sizes;
  unsigned made = 0;
  /// Evaluations left: models that are none must not cost time.
  static constexpr unsigned kBudget = 100000;
  unsigned budget = kBudget;
};

/// The point of an operand that broadcasts to a result.
KnownValues::Point broadcastPoint(mlir::Value operand, llvm::ArrayRef<lm::SymExpr> point);
/// The point of the operand of a reshape that only inserts or drops dimensions of
/// size 1; nullopt for other reshapes.
std::optional<KnownValues::Point> unitReshapePoint(lm::ReshapeOp op, llvm::ArrayRef<lm::SymExpr> point);

} // namespace llmopt

#endif
