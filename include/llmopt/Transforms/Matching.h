// Small questions about values that several matchers ask.
#ifndef LLMOPT_TRANSFORMS_MATCHING_H
#define LLMOPT_TRANSFORMS_MATCHING_H

#include "llmopt/Dialect/LM/IR/LM.h"

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace llmopt {

/// Why a site does not match, and what the owner of the model could do.
struct Miss {
  std::string reason;
  std::string suggestion;
};

/// What a matcher found at a site, or why it found nothing.
template <typename T> class MatchOr {
public:
  MatchOr(T match) : state(std::move(match)) {}
  MatchOr(Miss miss) : state(std::move(miss)) {}

  explicit operator bool() const { return std::holds_alternative<T>(state); }
  T &operator*() { return std::get<T>(state); }
  T *operator->() { return &std::get<T>(state); }
  const Miss &getMiss() const { return std::get<Miss>(state); }

private:
  std::variant<T, Miss> state;
};

/// The value of a constant or weight whose elements are all equal, also through
/// casts, reshapes and broadcasts; nullopt for anything else and for weights in
/// files that have more than one element.
std::optional<double> getScalar(mlir::Value value);
/// The same, for an operand of an elementwise operation that must not change
/// the shape of the other operand, `along`.
std::optional<double> getScalar(mlir::Value value, mlir::Value along);
/// A rank-0 constant of the given float type.
mlir::Value createScalar(mlir::OpBuilder &builder, mlir::Location loc, mlir::Type elementType, double value);

/// Whether |value - expected| is within what storing `expected` in the element
/// type and writing it with five digits can explain.
bool isNear(double value, double expected, mlir::Type elementType);

/// The operand of float-to-float casts that lose nothing (f16 to f32, say).
mlir::Value stripExactCasts(mlir::Value value);
/// Whether `op` converts between float types.
bool isFloatCast(mlir::Operation *op);

/// `value` in another element type; itself where it has that type.
mlir::Value castTo(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value value, mlir::Type elementType);
/// `value` in `elementType` where that loses nothing, else `value`.
mlir::Value castIfWider(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value value, mlir::Type elementType);

/// Whether a value depends on weights and constants only, through operations
/// that a recipe may contain.
bool isWeightDerived(mlir::Value value);

/// `value` as a vector [size]: itself, or reshaped where all other dimensions
/// are 1; null where it is neither. `size` must be constant.
mlir::Value getVector(mlir::OpBuilder &builder, mlir::Value value, const lm::SymExpr &size);
bool isVector(mlir::Value value, const lm::SymExpr &size);

/// Whether all dimensions are known and pairwise equal.
bool haveSameDims(mlir::Value a, mlir::Value b);

/// The only operation that uses `value`, or null. Several uses by one operation
/// count as one.
mlir::Operation *getOnlyUser(mlir::Value value);

} // namespace llmopt

#endif
