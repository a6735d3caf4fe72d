// Arithmetic expressions as polynomials in two values.
//
// Matching GELU by its polynomial, not by its graph, accepts every order of
// operands and every place that an exporter puts the 0.5 at.
#ifndef LLMOPT_LIB_TRANSFORMS_RAISE_POLYNOMIAL_H
#define LLMOPT_LIB_TRANSFORMS_RAISE_POLYNOMIAL_H

#include "llmopt/Dialect/LM/IR/LM.h"

#include "llvm/ADT/DenseMap.h"

#include <map>
#include <optional>
#include <utility>

namespace llmopt {

/// (power of x, power of y) -> coefficient.
using Polynomial = std::map<std::pair<unsigned, unsigned>, double>;

class PolynomialReader {
public:
  /// Reads expressions over `x` and, where given, `y`. Casts between float types
  /// are read through.
  PolynomialReader(mlir::Value x, mlir::Value y = {});

  /// nullopt where the value is no polynomial of degree <= 4, or has a shape other
  /// than that of x.
  std::optional<Polynomial> read(mlir::Value value);

private:
  std::optional<Polynomial> compute(mlir::Value value, unsigned depth);
  std::optional<Polynomial> computeCached(mlir::Value value, unsigned depth);

  mlir::Value x, y;
  llvm::DenseMap<mlir::Value, std::optional<Polynomial>> cache;
};

/// Whether both have the same terms, coefficients as in isNear, and terms that
/// only one has are negligible.
bool isNear(const Polynomial &polynomial, const Polynomial &expected, mlir::Type elementType);

/// Values that `value` is computed from by arithmetic, itself included, nearest
/// first, at most 24: candidates for the x of a polynomial.
llvm::SmallVector<mlir::Value> getArithmeticSources(mlir::Value value);

} // namespace llmopt

#endif
