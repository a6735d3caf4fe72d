// A model computed in f64 throughout, so that two forms of it can be compared to
// far below the rounding of f32.
#ifndef LLMOPT_TEST_UNIT_TRANSFORMS_PROMOTEDMODEL_H
#define LLMOPT_TEST_UNIT_TRANSFORMS_PROMOTEDMODEL_H

#include "llmopt/Dialect/LM/Eval/Tensor.h"

#include "mlir/IR/BuiltinOps.h"

#include <map>
#include <string>
#include <vector>

namespace llmopt::test {

/// Makes every float of `module` an f64: arguments, constants, results. Weights
/// keep their bytes and are converted behind.
void promoteToF64(mlir::ModuleOp module);

/// Inputs for @main of a promoted module: symbols get small sizes; floats are
/// drawn from a normal distribution; integers stay below what they index, masks
/// are ragged rows of 1s and 0s. `variant` 0 has several rows, 1 has one, 2 has
/// several of which one is fully masked. `sizes` fixes symbols.
std::vector<lm::Tensor> makeInputs(mlir::ModuleOp module, unsigned variant, std::map<std::string, int64_t> sizes);

/// "" if equal: floats by max|a-b| / max(1e-6, max finite |b|) <= tolerance with
/// NaN and infinities at the same places, integers exactly.
std::string compare(const lm::Tensor &actual, const lm::Tensor &expected, double tolerance);

} // namespace llmopt::test

#endif
