// llmopt: the compiler driver. Everything happens in lib/Driver.
#include "llmopt/Driver/Driver.h"

#include "llmopt/CodeGen/CPU/Link.h"

#include "llvm/Support/InitLLVM.h"

#include <csignal>
#include <new>
#include <unistd.h>

using namespace llmopt;

int main(int argc, char **argv) {
  // The linker runs in a child of this very executable.
  if (std::optional<int> code = cpu::runLinkerChild(argc, argv))
    return *code;

  // A file that grows beyond a limit is an error to report.
  std::signal(SIGXFSZ, SIG_IGN);
  std::set_new_handler([] {
    static const char message[] = "llmopt: out of memory\n";
    (void)!::write(2, message, sizeof(message) - 1);
    ::_exit(kEnvironment);
  });

  std::optional<CommandLine> line = parseCommandLine(llvm::ArrayRef(argv + 1, argc - 1), llvm::errs());
  if (!line)
    return kUsage;
  if (line->help) {
    printHelp(llvm::outs());
    return kOk;
  }
  if (line->version) {
    llvm::outs() << "llmopt " LLMOPT_VERSION "\n";
    return kOk;
  }
  std::string commandText;
  for (int i = 0; i < argc; ++i)
    commandText += (i ? " " : "") + std::string(argv[i]);
  return runDriver(*line, commandText, llvm::outs(), llvm::errs());
}
