// Looks at an artefact before the dynamic loader does, so that a file that is
// no artefact, not for this machine or cut short gives one clear line instead
// of the loader's text, a bus error, or foreign constructors being run.
#ifndef LLMOPT_RT_ELF_CHECK_H
#define LLMOPT_RT_ELF_CHECK_H

#include "llmopt/runtime.h"

namespace llmopt::rt {

/// `fd` is a regular file of `fileSize` bytes; `path` is for messages.
llmopt_status checkElf(int fd, uint64_t fileSize, const char *path, llmopt_error *error);

/// Why the dynamic loader must not be asked: what is wrong with the `count`
/// Elf64_Phdr at `segments`, or with the tables that they lead to; else null.
const char *findElfDamage(int fd, const void *segments, size_t count);

/// Reads all of [offset, offset + size); false on errors and at the file's end.
bool readFully(int fd, void *data, size_t size, uint64_t offset);

} // namespace llmopt::rt

#endif
