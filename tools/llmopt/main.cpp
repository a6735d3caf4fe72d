// llmopt: the compiler driver. Everything happens in lib/Driver.
#include "llmopt/Driver/Driver.h"

#include "llmopt/CodeGen/CPU/Link.h"

#include "llvm/Support/raw_ostream.h"

#include <csignal>
#include <new>
#include <unistd.h>

using namespace llmopt;

/// A crash is our bug: one line and the documented exit code instead of a signal.
/// Only what POSIX allows in a handler, on a stack of its own (the crash may be
/// an overflow).
static void reportCrash(int) {
  static const char message[] = "llmopt: bug in llmopt: it crashed; please send the command and the model\n";
  (void)!::write(2, message, sizeof(message) - 1);
  ::_exit(kInternal);
}

static void installCrashReport() {
  static char stack[64 * 1024];
  stack_t alternative = {};
  alternative.ss_sp = stack;
  alternative.ss_size = sizeof(stack);
  ::sigaltstack(&alternative, nullptr);
  struct sigaction action = {};
  action.sa_handler = reportCrash;
  action.sa_flags = SA_ONSTACK | SA_RESETHAND;
  for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT})
    ::sigaction(signal, &action, nullptr);
}

int main(int argc, char **argv) {
  // The linker runs in a child of this very executable.
  if (std::optional<int> code = cpu::runLinkerChild(argc, argv))
    return *code;

  installCrashReport();
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
