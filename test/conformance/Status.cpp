#include "Status.h"

#include <fstream>

using namespace llmopt::conformance;

static std::string compiledPath(const std::string &directory, Mode mode) {
  return directory + "/compiled-" + nameOf(mode) + ".txt";
}

/// Lines "test: reason".
static bool readReasons(const std::string &path, std::map<std::string, std::string> &reasons) {
  std::ifstream file(path);
  if (!file)
    return false;
  std::string line;
  while (std::getline(file, line)) {
    size_t colon = line.find(": ");
    if (!line.empty() && line[0] != '#' && colon != std::string::npos)
      reasons[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return true;
}

static bool writeReasons(const std::string &path, const char *title,
                         const std::map<std::string, std::string> &reasons) {
  std::ofstream file(path);
  file << "# " << title << " Written by llmopt-conformance --update.\n";
  for (const auto &[name, reason] : reasons)
    file << name << ": " << reason << "\n";
  file.flush();
  return file.good();
}

bool Status::read(const std::string &directory, Mode mode) {
  std::ifstream passed(directory + "/passes.txt");
  if (!passed || !readReasons(directory + "/unsupported.txt", unsupported) ||
      !readReasons(directory + "/excluded.txt", excluded))
    return false;
  std::string line;
  while (std::getline(passed, line))
    if (!line.empty() && line[0] != '#')
      passes.insert(line);
  return !isCompiled(mode) || readReasons(compiledPath(directory, mode), notCompiled);
}

bool Status::write(const std::string &directory, Mode mode) const {
  if (isCompiled(mode))
    return writeReasons(compiledPath(directory, mode), "Tests of passes.txt that this mode does not support, and why.",
                        notCompiled);
  std::ofstream passed(directory + "/passes.txt");
  passed << "# Tests of ONNX that must pass. Written by llmopt-conformance --update.\n";
  for (const std::string &name : passes)
    passed << name << "\n";
  passed.flush();
  return writeReasons(directory + "/unsupported.txt", "Tests of ONNX that are not supported, and why.", unsupported) &&
         passed.good();
}

std::string Status::check(const std::string &name, const Outcome &outcome, Mode mode) const {
  bool passed = outcome.kind == Outcome::Passed;
  if (isCompiled(mode)) {
    bool mustPass = passes.count(name) && !notCompiled.count(name);
    if (mustPass && !passed)
      return "does not pass: " + outcome.text;
    if (passed && notCompiled.count(name))
      return std::string("passes; take it out of compiled-") + nameOf(mode) + ".txt";
    return "";
  }
  if (passed && excluded.count(name))
    return "passes; take it out of excluded.txt";
  if (passed && !passes.count(name))
    return "passes; move it to passes.txt";
  if (!passed && passes.count(name))
    return "does not pass any more: " + outcome.text;
  if (!passed && !unsupported.count(name))
    return "is in neither list: " + outcome.text;
  return "";
}
