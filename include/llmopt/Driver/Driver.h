// The compiler as a function: the only place that orders phases.
#ifndef LLMOPT_DRIVER_DRIVER_H
#define LLMOPT_DRIVER_DRIVER_H

#include "llmopt/Driver/CommandLine.h"

namespace llmopt {

/// Does what the command line asks for; returns an exit code (ExitCode). Text
/// results go to `out`, everything else, one line per problem, to `err`.
/// `commandText` is kept in reproducers.
int runDriver(const CommandLine &line, llvm::StringRef commandText, llvm::raw_ostream &out, llvm::raw_ostream &err);

} // namespace llmopt

#endif
