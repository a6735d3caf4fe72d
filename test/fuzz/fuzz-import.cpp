// llmopt-fuzz-import: files of any bytes through importer, passes and plan.
//
//   llmopt-fuzz-import [--jobs=N] [--seconds=N] DIR     every file in DIR, each in a process of its own
//
// Prints "WRONG file: why" for one that dies, takes too long or breaks a rule of
// FuzzImport.h. Exit code 0: none, 1: some, 2: usage. fuzz_bytes.py makes the files.
#include "FuzzImport.h"

#include "Workers.h"

#include <cstdio>
#include <thread>

using namespace llmopt;
using namespace llmopt::conformance;

int main(int argc, char **argv) {
  unsigned jobs = std::max(1u, std::thread::hardware_concurrency()), seconds = 30;
  std::string folder;
  bool valid = true;
  for (llvm::StringRef argument : llvm::ArrayRef(argv + 1, argc - 1)) {
    if (argument.consume_front("--jobs="))
      valid &= !argument.getAsInteger(10, jobs) && jobs > 0;
    else if (argument.consume_front("--seconds="))
      valid &= !argument.getAsInteger(10, seconds) && seconds > 0;
    else if (argument.starts_with("-") || !folder.empty())
      valid = false;
    else
      folder = argument.str();
  }
  if (!valid || folder.empty()) {
    std::fprintf(stderr, "usage: llmopt-fuzz-import [--jobs=N] [--seconds=N] DIR\n");
    return 2;
  }
  std::vector<std::string> files = list(folder);
  std::vector<Outcome> outcomes = runInChildren(files.size(), jobs, seconds, [&](size_t i) {
    mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
    mlir::OwningOpRef<mlir::ModuleOp> module;
    bool planned = false;
    std::string problem = fuzz::checkImport(context, folder + "/" + files[i], module);
    if (problem.empty() && module)
      problem = fuzz::checkPlan(*module, planned);
    if (!problem.empty())
      return Outcome{Outcome::Wrong, problem, false};
    return Outcome{planned ? Outcome::Passed : Outcome::Unsupported, "", false};
  });
  unsigned wrong = 0, planned = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    planned += outcomes[i].kind == Outcome::Passed;
    if (outcomes[i].kind != Outcome::Wrong)
      continue;
    ++wrong;
    std::printf("WRONG %s: %s\n", files[i].c_str(), outcomes[i].text.c_str());
  }
  std::printf("fuzz-import: %zu files, %u planned, %u wrong\n", files.size(), planned, wrong);
  return wrong ? 1 : 0;
}
