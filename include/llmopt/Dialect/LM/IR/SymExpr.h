// Integer polynomials over named shape symbols ("batch", "sequence").
//
// Every dimension of every tensor in the compiler is one of these. They are
// kept canonical (a sorted sum of products), so two dimensions are the same
// exactly when their texts are the same. Division, minimum and maximum that do
// not simplify become opaque atoms whose arguments are canonical again.
//
// Every symbol stands for an integer that is not negative: a dimension of an input,
// which may have no elements, or, where it begins with `count_`, a size that depends
// on data.
#ifndef LLMOPT_DIALECT_LM_IR_SYMEXPR_H
#define LLMOPT_DIALECT_LM_IR_SYMEXPR_H

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace llmopt::lm {

class SymExpr {
public:
  /// A product of atoms, sorted, repeated atoms repeated. Empty: the constant 1.
  using Monomial = std::vector<std::string>;

  /// What an atom that is not a plain symbol computes. The numbering follows
  /// llmopt_expr_op in Runtime/abi.h.
  enum class Op { Const = 0, Symbol = 1, Add = 2, Mul = 3, FloorDiv = 4, CeilDiv = 5, Mod = 6, Min = 7, Max = 8 };

  /// One instruction of the postfix form; `value` is a constant, `symbol` a name.
  struct Insn {
    Op op;
    int64_t value = 0;
    std::string symbol;
  };

  /// The constant zero.
  SymExpr() = default;
  SymExpr(int64_t value);
  /// A symbol. Names are [A-Za-z_][A-Za-z0-9_]* and no function's name; other
  /// characters become underscores (the text of expressions must parse again).
  static SymExpr symbol(llvm::StringRef name);
  /// A dimension about which nothing is known; equal to nothing, not even itself.
  static SymExpr unknown();
  /// Parses the text form; nullopt where it is not one ("?" is unknown()).
  static std::optional<SymExpr> parse(llvm::StringRef text);

  bool isUnknown() const { return unknown_; }
  std::optional<int64_t> getConstant() const;
  bool isConstant(int64_t value) const { return getConstant() == value; }
  /// The name, if this is exactly one symbol.
  std::optional<std::string> getSymbol() const;

  friend SymExpr operator+(const SymExpr &a, const SymExpr &b);
  friend SymExpr operator-(const SymExpr &a, const SymExpr &b);
  friend SymExpr operator*(const SymExpr &a, const SymExpr &b);
  SymExpr &operator*=(const SymExpr &b) { return *this = *this * b; }
  SymExpr &operator+=(const SymExpr &b) { return *this = *this + b; }
  static SymExpr floorDiv(const SymExpr &a, const SymExpr &b);
  static SymExpr ceilDiv(const SymExpr &a, const SymExpr &b);
  static SymExpr mod(const SymExpr &a, const SymExpr &b);
  static SymExpr min(const SymExpr &a, const SymExpr &b);
  static SymExpr max(const SymExpr &a, const SymExpr &b);
  /// a / b where b divides a as polynomials, else nullopt.
  static std::optional<SymExpr> divideExactly(const SymExpr &a, const SymExpr &b);

  /// Structural equality; false whenever either side is unknown.
  friend bool operator==(const SymExpr &a, const SymExpr &b) {
    return !a.unknown_ && !b.unknown_ && a.terms == b.terms;
  }
  friend bool operator!=(const SymExpr &a, const SymExpr &b) { return !(a == b); }

  /// A value that the expression is never below, if one is known.
  std::optional<int64_t> lowerBound() const;

  /// The value under a binding of symbols; nullopt for an unbound symbol,
  /// overflow or division by zero.
  std::optional<int64_t> evaluate(llvm::function_ref<std::optional<int64_t>(llvm::StringRef)> lookup) const;
  /// Replaces symbols by expressions.
  SymExpr substitute(llvm::function_ref<std::optional<SymExpr>(llvm::StringRef)> lookup) const;
  void collectSymbols(std::set<std::string> &symbols) const;
  /// An expression without the symbols that `lookup` knows, never below this one
  /// while each of them lies between 0 and its value there. Unknown where none is
  /// found (a division by such a symbol).
  SymExpr upperBound(llvm::function_ref<std::optional<SymExpr>(llvm::StringRef)> lookup) const;
  /// Appends code that leaves the value on a stack (Runtime/abi.h).
  void toPostfix(std::vector<Insn> &code) const;

  std::string str() const;

private:
  class Parser;

  /// Expressions beyond these become unknown: no model needs them, and hostile
  /// ones must not cost time.
  static constexpr size_t maxTerms = 512, maxAtomLength = 4096;
  static constexpr int maxNesting = 32;

  static SymExpr atom(std::string name);
  static SymExpr call(Op op, const SymExpr &a, const SymExpr &b);
  /// Splits the text of an opaque atom into its operation and arguments (which
  /// are taken as canonical as they stand); false for a plain symbol.
  static bool splitCall(llvm::StringRef atom, Op &op, SymExpr &a, SymExpr &b);
  static SymExpr extremum(Op op, const SymExpr &a, const SymExpr &b);
  static void collectLeaves(Op op, const SymExpr &expr, std::vector<SymExpr> &leaves);
  /// a = divisor * multiple + rest, the coefficients of rest in [0, divisor).
  static void splitMultiple(const SymExpr &a, int64_t divisor, SymExpr &multiple, SymExpr &rest);
  static SymExpr divide(Op op, const SymExpr &a, const SymExpr &b);
  static SymExpr combine(Op op, const SymExpr &a, const SymExpr &b);
  SymExpr extreme(bool upper, llvm::function_ref<std::optional<SymExpr>(llvm::StringRef)> lookup) const;

  std::map<Monomial, int64_t> terms; // no zero coefficients
  bool unknown_ = false;
};

/// The product of all dimensions.
SymExpr product(llvm::ArrayRef<SymExpr> dims);

} // namespace llmopt::lm

#endif
