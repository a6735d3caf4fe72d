#include "Status.h"

#include <fstream>

using namespace llmopt::conformance;

bool Status::read(const std::string &directory) {
  std::ifstream passed(directory + "/passes.txt"), others(directory + "/unsupported.txt");
  if (!passed || !others)
    return false;
  std::string line;
  while (std::getline(passed, line))
    if (!line.empty() && line[0] != '#')
      passes.insert(line);
  while (std::getline(others, line)) {
    size_t colon = line.find(": ");
    if (!line.empty() && line[0] != '#' && colon != std::string::npos)
      unsupported[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return true;
}

bool Status::write(const std::string &directory) const {
  std::ofstream passed(directory + "/passes.txt"), others(directory + "/unsupported.txt");
  passed << "# Tests of ONNX that must pass. Written by llmopt-conformance --update.\n";
  for (const std::string &name : passes)
    passed << name << "\n";
  others << "# Tests of ONNX that are not supported, and why. Written by llmopt-conformance --update.\n";
  for (const auto &[name, reason] : unsupported)
    others << name << ": " << reason << "\n";
  passed.flush();
  others.flush();
  return passed.good() && others.good();
}
