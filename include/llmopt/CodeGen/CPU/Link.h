// Linking object code into a shared library with lld, in a child process.
//
// lld runs as a library, but it may die (SIGBUS on a full disk) and keeps
// global state, so this process starts itself again to run it; objects and the
// result pass through memory, never through files.
#ifndef LLMOPT_CODEGEN_CPU_LINK_H
#define LLMOPT_CODEGEN_CPU_LINK_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

#include <optional>
#include <string>

namespace llmopt::cpu {

/// Must be the first thing in the `main` of every program that links: if this
/// process is such a child, does its work and returns the exit code.
std::optional<int> runLinkerChild(int argc, char **argv);

/// Links one ELF object. Undefined symbols are an error. Returns false and says
/// why in `error`.
bool linkSharedLibrary(llvm::ArrayRef<char> object, llvm::StringRef triple,
                       llvm::SmallVectorImpl<char> &library,
                       std::string &error);

} // namespace llmopt::cpu
#endif
