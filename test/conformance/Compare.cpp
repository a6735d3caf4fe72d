#include "Compare.h"

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

#include <cmath>

using namespace llmopt;

// The evaluator rounds once per operation, the expected values come from NumPy,
// which rounds as often as its formula has steps. So: a few hundred units in the
// last place of f32 (2^-24); the same for f64, where constants of the model are
// f32 and limit what agrees; two units for the short types, since a different
// order of steps moves a result to the next value at most.
double conformance::getTolerance(mlir::Type type) {
  if (type.isF64())
    return 1e-7;
  if (type.isF32())
    return 1e-5;
  if (type.isF16())
    return 2e-3; // 2 * 2^-10
  if (type.isBF16())
    return 1.6e-2; // 2 * 2^-7
  return 0.13;     // f8: 2^-3
}

// Half a unit of the fourth decimal, 5e-5, of results whose largest is 0.35 to 0.9.
double conformance::getTypedTolerance(llvm::StringRef test) {
  for (llvm::StringRef name : {"node/test_averagepool_2d_ceil_last_window_starts_on_pad",
                               "node/test_roialign_aligned_false", "node/test_roialign_aligned_true"})
    if (test == name)
      return 2e-4;
  return 0;
}

bool conformance::hasRandomOutputs(llvm::StringRef test) {
  static const char *const tests[] = {"test_bernoulli",
                                      "test_bernoulli_expanded",
                                      "test_bernoulli_double",
                                      "test_bernoulli_double_expanded",
                                      "test_bernoulli_seed",
                                      "test_bernoulli_seed_expanded",
                                      "test_training_dropout",
                                      "test_training_dropout_mask",
                                      "test_training_dropout_default",
                                      "test_training_dropout_default_mask"};
  return llvm::is_contained(tests, test);
}

std::string conformance::typeText(const lm::Tensor &tensor) {
  std::string text;
  llvm::raw_string_ostream(text) << tensor.getType();
  return text;
}

std::string conformance::compare(const lm::Tensor &actual, const lm::Tensor &expected, double least) {
  if (actual.getElementType() != expected.getElementType() || actual.getDims() != expected.getDims())
    return "expected " + typeText(expected) + ", but got " + typeText(actual);
  if (!expected.isFloat()) {
    for (auto [i, pair] : llvm::enumerate(llvm::zip(actual.ints(), expected.ints())))
      if (std::get<0>(pair) != std::get<1>(pair))
        return llvm::formatv("element {0}: expected {1}, but got {2}", i, std::get<1>(pair), std::get<0>(pair));
    return "";
  }
  double largest = 0, difference = 0;
  for (auto [i, pair] : llvm::enumerate(llvm::zip(actual.floats(), expected.floats()))) {
    auto [a, b] = pair;
    bool same = std::isnan(a) == std::isnan(b) && std::isinf(a) == std::isinf(b) && (!std::isinf(a) || a == b);
    if (!same)
      return llvm::formatv("element {0}: expected {1}, but got {2}", i, b, a);
    if (!std::isfinite(b))
      continue;
    largest = std::max(largest, std::abs(b));
    difference = std::max(difference, std::abs(a - b));
  }
  double error = difference / std::max(1e-6, largest);
  double tolerance = std::max(least, getTolerance(expected.getElementType()));
  if (error <= tolerance)
    return "";
  return llvm::formatv("error {0:e2}, expected at most {1:e2}", error, tolerance);
}
