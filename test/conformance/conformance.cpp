// llmopt-conformance: ONNX's operator tests through the importer, and then
// through the evaluator or compiled for this CPU.
//
//   llmopt-conformance [--mode=MODE] [--status=DIR [--update]] [--filter=TEXT]
//                      [--tolerance=1e-4] [--jobs=N] [-v] SUITE...
//
// A suite is a directory of tests, each with model.onnx and test_data_set_*/.
// Modes: evaluator (the default), symbolic, static, dynamic, constant (Case.h).
// A test is first imported with every input unknown. Many operators take shapes,
// axes or repeats as inputs, which must be known when compiling; then the test is
// imported again with its short integer inputs as constants, at last with all
// short inputs. With --status, results must be those of the checked-in lists
// (Status.h): an unexpected pass is a failure too. In dynamic mode a family may pin
// dimensions: its tests run again with these as numbers. Without, only wrong results
// are failures. --tolerance is for whole models (make_ort_cases.py), where
// roundings add up.
#include "Compare.h"
#include "Status.h"
#include "Workers.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <cstdio>
#include <optional>
#include <thread>

using namespace llmopt;
using namespace llmopt::conformance;

namespace {

/// No test of ONNX takes a second; this is for code that does not end.
constexpr unsigned kSeconds = 120;

struct Options {
  CaseOptions run;
  std::string status, filter;
  bool update = false, verbose = false;
  unsigned jobs = std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::string> suites;
};

struct Named {
  std::string name, directory;
};

std::optional<Mode> parseMode(llvm::StringRef text) {
  for (Mode mode : kModes)
    if (text == nameOf(mode))
      return mode;
  return std::nullopt;
}

std::optional<Options> parse(int argc, char **argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    llvm::StringRef arg = argv[i];
    if (arg.consume_front("--status=")) {
      options.status = arg.str();
    } else if (arg.consume_front("--filter=")) {
      options.filter = arg.str();
    } else if (arg.consume_front("--mode=")) {
      std::optional<Mode> mode = parseMode(arg);
      if (!mode)
        return std::nullopt;
      options.run.mode = *mode;
    } else if (arg.consume_front("--tolerance=")) {
      if (arg.getAsDouble(options.run.tolerance))
        return std::nullopt;
    } else if (arg.consume_front("--jobs=")) {
      if (arg.getAsInteger(10, options.jobs) || options.jobs == 0)
        return std::nullopt;
    } else if (arg == "--update") {
      options.update = true;
    } else if (arg == "-v") {
      options.verbose = true;
    } else if (arg.starts_with("-")) {
      return std::nullopt;
    } else {
      options.suites.push_back(arg.rtrim('/').str());
    }
  }
  return options.suites.empty() ? std::nullopt : std::optional<Options>(options);
}

void printReasons(const std::map<std::string, unsigned> &reasons, bool all) {
  std::vector<std::pair<unsigned, std::string>> sorted;
  for (const auto &[reason, count] : reasons)
    sorted.push_back({count, reason});
  llvm::sort(sorted, [](const auto &a, const auto &b) { return a.first > b.first; });
  for (const auto &[count, reason] : llvm::ArrayRef(sorted).take_front(all ? sorted.size() : 12))
    std::printf("  %u unsupported: %s\n", count, reason.c_str());
}

} // namespace

int main(int argc, char **argv) {
  std::optional<Options> options = parse(argc, argv);
  std::string error;
  if (!options) {
    std::fprintf(stderr, "usage: llmopt-conformance [--mode=evaluator|symbolic|static|dynamic|constant] "
                         "[--status=DIR [--update]] [--filter=TEXT] [--tolerance=1e-4] [--jobs=N] [-v] SUITE...\n");
    return 2;
  }
  std::optional<cpu::TargetInfo> target = cpu::resolveTarget("", "native", error);
  if (!target) {
    std::fprintf(stderr, "%s\n", error.c_str());
    return 2;
  }
  options->run.target = *target;
  const Mode mode = options->run.mode;
  Status known;
  bool hasLists = !options->status.empty() && mode != Mode::Symbolic;
  if (hasLists && !known.read(options->status, mode) && !options->update) {
    std::fprintf(stderr, "no lists in %s\n", options->status.c_str());
    return 2;
  }
  std::vector<Named> tests;
  for (const std::string &suite : options->suites) {
    if (!llvm::sys::fs::is_directory(suite)) {
      std::printf("conformance: skipped, no test data at %s\n", suite.c_str());
      return 0;
    }
    for (const std::string &test : list(suite)) {
      std::string name = llvm::sys::path::filename(suite).str() + "/" + test;
      // What does not import is the evaluator's to report.
      bool isListed = !isCompiled(mode) || known.passes.empty() || known.passes.count(name);
      if (isListed && llvm::StringRef(name).contains(options->filter))
        tests.push_back({name, suite + "/" + test});
    }
  }
  std::vector<Outcome> outcomes = runInChildren(tests.size(), options->jobs, kSeconds, [&](size_t i) {
    CaseOptions run = options->run;
    run.tolerance = std::max(run.tolerance, getTypedTolerance(tests[i].name));
    Outcome outcome = runCase(tests[i].directory, run);
    // What must be a number stays one, and everything else is a symbol again.
    const Family *family = mode == Mode::Dynamic && outcome.kind == Outcome::Unsupported
                               ? known.findFamily(tests[i].name, outcome.text)
                               : nullptr;
    if (!family || family->pins.empty())
      return outcome;
    run.pins = family->pins;
    Outcome pinned = runCase(tests[i].directory, run);
    if (pinned.kind == Outcome::Passed)
      pinned.text = family->pinned;
    return pinned;
  });

  Status seen = known;
  seen.passes.clear();
  seen.unsupported.clear();
  seen.notCompiled.clear();
  seen.pinned.clear();
  unsigned unexpected = 0, wrong = 0, withConstants = 0, unsupported = 0;
  std::map<std::string, unsigned> reasons;
  for (auto [test, outcome] : llvm::zip(tests, outcomes)) {
    const std::string &name = test.name;
    if (outcome.kind == Outcome::Passed) {
      seen.passes.insert(name);
      withConstants += outcome.withConstants;
      if (!outcome.text.empty())
        seen.pinned[name] = outcome.text;
    } else if (outcome.kind == Outcome::Unsupported) {
      ++unsupported;
      (isCompiled(mode) ? seen.notCompiled : seen.unsupported)[name] = outcome.text;
      ++reasons[outcome.text];
    } else {
      ++wrong;
      std::printf("WRONG %s: %s\n", name.c_str(), outcome.text.c_str());
    }
    if (options->verbose)
      std::printf("%s %s%s %s\n", outcome.kind == Outcome::Passed ? "pass" : "fail", name.c_str(),
                  outcome.withConstants ? " (constants)" : "", outcome.text.c_str());
    if (!hasLists || options->update || outcome.kind == Outcome::Wrong)
      continue;
    std::string problem = known.check(name, outcome, mode);
    if (!problem.empty()) {
      ++unexpected;
      std::printf("UNEXPECTED %s %s\n", name.c_str(), problem.c_str());
    }
  }
  // The families are those of this mode; others need none.
  if (hasLists && mode == Mode::Dynamic && options->filter.empty())
    for (const std::string &family : seen.getUnusedFamilies()) {
      ++unexpected;
      std::printf("UNEXPECTED family without tests: %s\n", family.c_str());
    }
  std::printf("conformance (%s): %zu passed (%u with short inputs as constants, %zu with pinned dimensions), "
              "%u unsupported, %u wrong\n",
              nameOf(mode), seen.passes.size(), withConstants, seen.pinned.size(), unsupported, wrong);
  printReasons(reasons, options->verbose);
  if (hasLists && options->update && !seen.write(options->status, mode))
    return 1;
  return unexpected || wrong ? 1 : 0;
}
