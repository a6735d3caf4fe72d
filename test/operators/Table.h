// The tables of docs, and reasons for what they do not mark.
#ifndef LLMOPT_TEST_OPERATORS_TABLE_H
#define LLMOPT_TEST_OPERATORS_TABLE_H

#include <map>
#include <set>
#include <string>
#include <vector>

namespace llmopt::operators {

constexpr const char *kColumns[] = {"verifier", "evaluator", "CPU", "gradient", "CUDA", "int8"};

/// Reasons by (column, operation), from lines "COLUMN OP OP..: reason".
class Reasons {
public:
  /// Problems are appended: lines that cannot be read, cells with two reasons.
  bool read(const std::string &path, std::vector<std::string> &problems);
  /// Empty where there is none.
  std::string find(const std::string &column, const std::string &op);
  /// Cells whose reason nothing asked for: they are marked, or do not exist.
  std::vector<std::string> getUnused() const;

private:
  std::map<std::pair<std::string, std::string>, std::string> reasons;
  std::set<std::pair<std::string, std::string>> used;
};

/// Marked columns by operation.
using Marks = std::map<std::string, std::set<std::string>>;

/// docs/operators.md. Cells without a mark and without a reason are problems.
std::string renderOperators(const Marks &marks, Reasons &reasons, std::vector<std::string> &problems);
/// docs/onnx-operators.md, of the importer's table.
std::string renderONNX();

} // namespace llmopt::operators

#endif
