// The checked-in state: which tests pass, and why the others do not.
//
// passes.txt has one test per line ("node/test_add"); unsupported.txt one test
// and its reason class per line ("node/test_top_k: operator ai.onnx.TopK").
#ifndef LLMOPT_TEST_CONFORMANCE_STATUS_H
#define LLMOPT_TEST_CONFORMANCE_STATUS_H

#include <map>
#include <set>
#include <string>

namespace llmopt::conformance {

struct Status {
  std::set<std::string> passes;
  std::map<std::string, std::string> unsupported;

  /// False where a file cannot be read.
  bool read(const std::string &directory);
  bool write(const std::string &directory) const;
};

} // namespace llmopt::conformance

#endif
