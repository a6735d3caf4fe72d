// One test of ONNX: import, then evaluate or compile, then compare.
#ifndef LLMOPT_TEST_CONFORMANCE_CASE_H
#define LLMOPT_TEST_CONFORMANCE_CASE_H

#include "llmopt/CodeGen/CPU/TargetInfo.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace llmopt::conformance {

/// How a test is run.
enum class Mode {
  Evaluator, ///< imported as it stands, in the evaluator
  Symbolic,  ///< every dimension of every input a symbol, in the evaluator
  Static,    ///< compiled for this CPU as it stands
  Dynamic,   ///< compiled with every dimension of every input a symbol
  Constant,  ///< compiled with every input known: what folds, folds
};
inline constexpr Mode kModes[] = {Mode::Evaluator, Mode::Symbolic, Mode::Static, Mode::Dynamic, Mode::Constant};
const char *nameOf(Mode mode);
inline bool isCompiled(Mode mode) { return mode >= Mode::Static; }

struct Outcome {
  enum Kind { Passed, Unsupported, Wrong } kind = Wrong;
  std::string text;           // why not, or what is pinned; one line
  bool withConstants = false; // short inputs had to be known
};

/// Dimensions of inputs that stay numbers in a symbolic mode; -1 is the last one.
using Pins = std::map<std::string, std::set<int64_t>>;

struct CaseOptions {
  Mode mode = Mode::Evaluator;
  double tolerance = 0; // at least
  cpu::TargetInfo target;
  Pins pins;
};

/// Runs all data sets of `directory`. Unsupported: a diagnostic said so. Anything
/// else that goes wrong, values included, is Wrong.
Outcome runCase(const std::string &directory, const CaseOptions &options);

/// The names in a directory, sorted.
std::vector<std::string> list(const std::string &directory);

} // namespace llmopt::conformance

#endif
