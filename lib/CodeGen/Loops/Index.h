// Indices as sums: constant + sum of coefficient * variable.
//
// Coefficients are expressions over shape symbols, so every stride is one number
// by the time a kernel runs. Variables are loop variables, or values about which
// only a range is known (a gathered index, a quotient).
#ifndef LLMOPT_LIB_CODEGEN_LOOPS_INDEX_H
#define LLMOPT_LIB_CODEGEN_LOOPS_INDEX_H

#include "ScalarBuilder.h"

#include <string>

namespace llmopt::loops {

struct Index {
  SmallVector<std::pair<int, SymExpr>, 2> terms; // sorted by variable, no zeros
  SymExpr constant;

  Index(int64_t value = 0) : constant(value) {}
  Index(const SymExpr &value) : constant(value) {}
  static Index var(int id, const SymExpr &coefficient = 1);

  bool isConstant() const { return terms.empty(); }
  SymExpr coefficientOf(int var) const;
  void add(int var, const SymExpr &coefficient);
  std::string key() const;
};

Index operator+(const Index &a, const Index &b);
Index operator*(const Index &a, const SymExpr &b);
inline Index operator-(const Index &a, const Index &b) { return a + b * SymExpr(-1); }

/// Row-major strides, in elements.
SmallVector<SymExpr> rowMajorStrides(ArrayRef<SymExpr> dims);
Index linearize(ArrayRef<Index> indices, ArrayRef<SymExpr> dims);

/// A run of dimensions of one shape that has as many elements as one of another.
struct ReshapeGroup {
  SmallVector<size_t, 2> from, to;
};
SmallVector<ReshapeGroup> matchReshape(ArrayRef<SymExpr> from, ArrayRef<SymExpr> to);

/// a >= b, as far as that can be known.
bool isAtLeast(const SymExpr &a, const SymExpr &b);

} // namespace llmopt::loops

#endif
