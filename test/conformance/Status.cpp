#include "Status.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

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

static std::string pinnedPath(const std::string &directory, Mode mode) {
  return directory + "/pinned-" + nameOf(mode) + ".txt";
}

/// "x:-1 y:0"
static bool parsePins(llvm::StringRef text, Pins &pins) {
  llvm::SmallVector<llvm::StringRef> words;
  text.split(words, ' ', -1, /*KeepEmpty=*/false);
  for (llvm::StringRef word : words) {
    auto [input, dim] = word.rsplit(':');
    int64_t number;
    if (input.empty() || dim.getAsInteger(10, number))
      return false;
    pins[input.str()].insert(number);
  }
  return !pins.empty();
}

/// Lines "prefix | diagnostic | reason" and "prefix | diagnostic | pin x:0 | reason".
static bool readFamilies(const std::string &path, std::vector<Family> &families) {
  std::ifstream file(path);
  if (!file)
    return false;
  std::string line;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#')
      continue;
    llvm::SmallVector<llvm::StringRef> parts;
    llvm::StringRef(line).split(parts, " | ");
    if (parts.size() != 3 && parts.size() != 4)
      return false;
    Family family{parts[0].str(), parts[1].str(), parts.back().str(), "", {}};
    if (parts.size() == 4) {
      if (!parts[2].consume_front("pin ") || !parsePins(parts[2], family.pins))
        return false;
      family.pinned = parts[2].str();
    }
    families.push_back(std::move(family));
  }
  return true;
}

const Family *Status::findFamily(const std::string &name, const std::string &diagnostic) const {
  for (const Family &family : families)
    if (name.rfind(family.prefix, 0) == 0 && diagnostic.find(family.diagnostic) != std::string::npos)
      return &family;
  return nullptr;
}

std::vector<std::string> Status::getUnusedFamilies() const {
  std::set<const Family *> used;
  for (const auto &[name, diagnostic] : notCompiled)
    used.insert(findFamily(name, diagnostic));
  auto isPinned = [&](const Family &family) {
    for (const auto &[name, dims] : pinned)
      if (!family.pins.empty() && name.rfind(family.prefix, 0) == 0 && dims == family.pinned)
        return true;
    return false;
  };
  std::vector<std::string> unused;
  for (const Family &family : families)
    if (!used.count(&family) && !isPinned(family))
      unused.push_back(family.prefix + " | " + family.diagnostic);
  return unused;
}

/// By family, in the order of families.txt; what fits none comes first.
static bool writeByFamily(const std::string &path, const Status &status) {
  std::ofstream file(path);
  file << "# Tests of passes.txt that this mode does not support, by the families of families.txt. Written by\n"
          "# llmopt-conformance --update.\n";
  std::map<const Family *, std::map<std::string, std::string>> groups;
  for (const auto &[name, diagnostic] : status.notCompiled)
    groups[status.findFamily(name, diagnostic)][name] = diagnostic;
  auto write = [&](const Family *family) {
    auto group = groups.find(family);
    if (group == groups.end())
      return;
    file << "\n# " << (family ? family->reason : "in no family") << " (" << group->second.size() << ")\n";
    for (const auto &[name, diagnostic] : group->second)
      file << name << ": " << diagnostic << "\n";
  };
  write(nullptr);
  for (const Family &family : status.families)
    write(&family);
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
  if (!isCompiled(mode))
    return true;
  if (mode == Mode::Dynamic && !readReasons(pinnedPath(directory, mode), pinned))
    return false;
  return readFamilies(directory + "/families.txt", families) && readReasons(compiledPath(directory, mode), notCompiled);
}

bool Status::write(const std::string &directory, Mode mode) const {
  if (isCompiled(mode)) {
    if (mode == Mode::Dynamic &&
        !writeReasons(pinnedPath(directory, mode),
                      "Tests that compile with every dimension a symbol but for these, by families.txt.", pinned))
      return false;
    return writeByFamily(compiledPath(directory, mode), *this);
  }
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
    if (!passed && !findFamily(name, outcome.text))
      return "fits no family of families.txt: " + outcome.text;
    auto dims = pinned.find(name);
    if (passed && outcome.text != (dims == pinned.end() ? "" : dims->second))
      return "passes with '" + outcome.text + "' as numbers, and not '" + (dims == pinned.end() ? "" : dims->second) +
             "' as in pinned-" + nameOf(mode) + ".txt";
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
