// What assembly says about the registers of a kernel.
#ifndef LLMOPT_TEST_UNIT_CPU_ASSEMBLY_H
#define LLMOPT_TEST_UNIT_CPU_ASSEMBLY_H

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace llmopt::cpu {

inline std::vector<std::string> splitLines(const std::string &text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

/// A vector that is written to the stack.
inline bool isSpill(const std::string &line) {
  return line.find("mov") != std::string::npos && line.find("mm") != std::string::npos &&
         line.find("(%rsp)") != std::string::npos && line.rfind("(%rsp)") > line.rfind("mm");
}

/// Spills in innermost loops.
inline std::vector<std::string> findSpills(const std::string &text) {
  std::vector<std::string> lines = splitLines(text), spills;
  std::map<std::string, size_t> labels;
  size_t innermost = 0; // the last label seen
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string &line = lines[i];
    if (!line.empty() && line[0] == '.' && line.find(':') != std::string::npos) {
      labels[line.substr(0, line.find(':'))] = innermost = i;
      continue;
    }
    size_t jump = line.find("\tj"), target = line.find(".LBB");
    if (jump == std::string::npos || target == std::string::npos)
      continue;
    std::string label = line.substr(target);
    label = label.substr(0, label.find_first_of(" \t,"));
    // A jump back over nothing but itself: the loop has no loop inside.
    if (labels.count(label) && labels[label] == innermost)
      std::copy_if(lines.begin() + innermost, lines.begin() + i, std::back_inserter(spills), isSpill);
  }
  return spills;
}

/// Spills anywhere in functions whose names begin so; `functions` counts them.
inline std::vector<std::string> findSpillsIn(const std::string &text, const std::string &prefix, int &functions) {
  std::vector<std::string> spills;
  bool inside = false;
  for (const std::string &line : splitLines(text)) {
    if (line.rfind(prefix, 0) == 0 && line.find(':') != std::string::npos) {
      inside = true;
      ++functions;
    }
    if (line.rfind(".Lfunc_end", 0) == 0)
      inside = false;
    if (inside && isSpill(line))
      spills.push_back(line);
  }
  return spills;
}

} // namespace llmopt::cpu
#endif
