#include "Table.h"

#include "llmopt/Import/ONNX/Import.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringRef.h"

#include <fstream>
#include <sstream>

using namespace llmopt;
using namespace llmopt::operators;

bool Reasons::read(const std::string &path, std::vector<std::string> &problems) {
  std::ifstream file(path);
  if (!file)
    return false;
  std::string line;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#')
      continue;
    size_t colon = line.find(": ");
    std::istringstream words(line.substr(0, colon));
    std::string column, op;
    words >> column;
    if (colon == std::string::npos || !llvm::is_contained(kColumns, column)) {
      problems.push_back("expected 'COLUMN OP OP..: reason', but got '" + line + "'");
      continue;
    }
    while (words >> op)
      if (!reasons.insert({{column, op}, line.substr(colon + 2)}).second)
        problems.push_back("lm." + op + " has two reasons for " + column);
  }
  return true;
}

std::string Reasons::find(const std::string &column, const std::string &op) {
  auto found = reasons.find({column, op});
  if (found == reasons.end())
    return "";
  used.insert(found->first);
  return found->second;
}

std::vector<std::string> Reasons::getUnused() const {
  std::vector<std::string> unused;
  for (const auto &[cell, reason] : reasons)
    if (!used.count(cell))
      unused.push_back("lm." + cell.second + " works for " + cell.first + " or does not exist; take its reason out");
  return unused;
}

std::string operators::renderOperators(const Marks &marks, Reasons &reasons, std::vector<std::string> &problems) {
  std::string table = "| operation |", rule = "|---|";
  for (const char *column : kColumns) {
    table += std::string(" ") + column + " |";
    rule += "---|";
  }
  table += "\n" + rule + "\n";
  std::vector<std::string> notes;
  std::map<std::string, unsigned> counts;
  for (const auto &[op, columns] : marks) {
    table += "| `lm." + op + "` |";
    for (const char *column : kColumns) {
      if (columns.count(column)) {
        ++counts[column];
        table += " yes |";
        continue;
      }
      std::string reason = reasons.find(column, op);
      if (reason.empty())
        problems.push_back("lm." + op + " has no reason for " + column);
      auto at = llvm::find(notes, reason);
      size_t number = at - notes.begin() + 1;
      if (at == notes.end())
        notes.push_back(reason);
      table += " " + std::to_string(number) + " |";
    }
    table += "\n";
  }
  std::string text = "# Operations of the `lm` dialect\n\n"
                     "Written by `llmopt-operators --update`, which builds `test/operators/samples.mlir` and asks. A "
                     "number is the\nreason below (`test/operators/reasons.txt`) why a cell has no mark.\n\n"
                     "- verifier: ill-formed instances are rejected.\n"
                     "- evaluator: the instance evaluates (`lib/Dialect/LM/Eval`).\n"
                     "- CPU: it compiles for this machine, and computes what the evaluator does.\n"
                     "- gradient: its rule agrees with central differences of the evaluator, in f64.\n"
                     "- CUDA: it prints as a CUDA project; all of these run as one, emulated, against the evaluator.\n"
                     "- int8: it computes on 8-bit integers as the evaluator does, bit for bit, or as an int8 kernel "
                     "of the plan.\n\n";
  text += "Of " + std::to_string(marks.size()) + " operations:";
  for (const char *column : kColumns)
    text += std::string(column == kColumns[0] ? " " : ", ") + std::to_string(counts[column]) + " " + column;
  text += ".\n\n" + table + "\n";
  for (size_t i = 0; i < notes.size(); ++i)
    text += std::to_string(i + 1) + ". " + notes[i] + "\n";
  return text;
}

std::string operators::renderONNX() {
  std::string text = "# Operators of ONNX that are imported\n\n"
                     "Written by `llmopt-operators --update` from the importer's tables. Versions are those of the "
                     "domain's operator\nset in the model; what an operator's attributes and types allow beyond is "
                     "said by a diagnostic. Tests:\n`test/conformance` (vectors of ONNX; `com.microsoft` against ONNX "
                     "Runtime).\n";
  std::string domain = "-";
  std::vector<ONNXOperator> all = listONNXOperators();
  for (const ONNXOperator &op : all) {
    if (op.domain != domain) {
      domain = op.domain;
      auto count = llvm::count_if(all, [&](const ONNXOperator &other) { return other.domain == domain; });
      text += "\n## " + (domain.empty() ? std::string("ai.onnx") : domain) + "\n\n" + std::to_string(count) +
              " operators.\n\n| operator | versions |\n|---|---|\n";
    }
    text += "| " + op.name + " | " + op.versions + " |\n";
  }
  return text;
}
