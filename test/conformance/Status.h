// The checked-in state: which tests pass, and why the others do not.
//
//   passes.txt          tests that pass in the evaluator ("node/test_add")
//   unsupported.txt     the others, with a reason class ("node/test_top_k: operator ai.onnx.TopK")
//   excluded.txt        written by hand: families out of scope, test by test; closed
//   compiled-MODE.txt   of passes.txt, what does not compile in MODE, with the reason
//   pinned-MODE.txt     of passes.txt, what compiles in MODE only with some dimensions
//                       as numbers, with these
//   families.txt        written by hand: the closed list of reasons for those
//
// --update rewrites all but excluded.txt and families.txt. Wrong results have no list.
#ifndef LLMOPT_TEST_CONFORMANCE_STATUS_H
#define LLMOPT_TEST_CONFORMANCE_STATUS_H

#include "Case.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace llmopt::conformance {

/// Tests that do not compile for one reason, with every dimension a symbol.
struct Family {
  std::string prefix, diagnostic; ///< of the test's name; a part of its diagnostic
  std::string reason;             ///< one sentence
  std::string pinned;             ///< "x:-1 y:0": with these as numbers they do; empty: not at all
  Pins pins;                      ///< the same
};

struct Status {
  std::set<std::string> passes;
  std::map<std::string, std::string> unsupported;
  /// By test; the family.
  std::map<std::string, std::string> excluded;
  /// Of the compiled mode it was read for: why not; and which dimensions are pinned.
  std::map<std::string, std::string> notCompiled, pinned;
  std::vector<Family> families;

  /// The family of a test that does not compile; null where it fits none.
  const Family *findFamily(const std::string &name, const std::string &diagnostic) const;
  /// Families that no test of `notCompiled` fits, and those that pin without a test.
  std::vector<std::string> getUnusedFamilies() const;

  /// Reads all that `mode` needs. False where a file cannot be read.
  bool read(const std::string &directory, Mode mode);
  /// Writes the lists that `mode` decides.
  bool write(const std::string &directory, Mode mode) const;

  /// Empty where `outcome` of `name` in `mode` is as the lists say.
  std::string check(const std::string &name, const Outcome &outcome, Mode mode) const;
};

} // namespace llmopt::conformance

#endif
