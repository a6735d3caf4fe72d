// How large a number that depends on data can get.
#ifndef LLMOPT_IMPORT_ONNX_DATASIZES_H
#define LLMOPT_IMPORT_ONNX_DATASIZES_H

#include "llmopt/Dialect/LM/IR/LM.h"

namespace llmopt::onnx_import {

/// Every element of an integer tensor lies in [low, high], sizes of inputs or
/// counts; an unknown bound is none.
struct Interval {
  lm::SymExpr low = lm::SymExpr::unknown(), high = lm::SymExpr::unknown();
};

/// What the operations that make `value` say of its elements.
Interval getInterval(mlir::Value value);

/// Whether two values are computed alike from the same values, or count the true
/// elements of one mask; so they are one number.
bool isSameNumber(mlir::Value a, mlir::Value b);

} // namespace llmopt::onnx_import

#endif
