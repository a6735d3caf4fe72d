// How far an output may be from the expected one.
#ifndef LLMOPT_TEST_CONFORMANCE_COMPARE_H
#define LLMOPT_TEST_CONFORMANCE_COMPARE_H

#include "llmopt/Dialect/LM/Eval/Tensor.h"

#include <string>

namespace llmopt::conformance {

/// Empty where `actual` is as expected, else what differs. Floats: the same
/// positions of NaN and infinities, and max |a-b| / max(1e-6, max finite |b|)
/// within the tolerance of the type (at least `least`); integers and booleans:
/// equal.
std::string compare(const lm::Tensor &actual, const lm::Tensor &expected, double least = 0);

/// What `least` must be for a test whose expected values are not exact: they were
/// typed in with four decimals. 0 for all others.
double getTypedTolerance(llvm::StringRef test);

/// The tolerance of a floating-point type, for one operator.
double getTolerance(mlir::Type type);

/// tensor<2x3xf32>
std::string typeText(const lm::Tensor &tensor);

/// Whether the expected values of a test are random numbers: then only their
/// types and shapes count.
bool hasRandomOutputs(llvm::StringRef test);

} // namespace llmopt::conformance

#endif
