// Files as the runtime opens them: regular, read only, with their size.
#ifndef LLMOPT_RT_FILES_H
#define LLMOPT_RT_FILES_H

#include "common.h"

namespace llmopt::rt {

class File {
public:
  File() = default;
  File(const File &) = delete;
  File &operator=(const File &) = delete;
  ~File();

  /// NOT_FOUND where there is none, IO_ERROR for anything but a regular file
  /// that can be read. `what` names it in messages ("weights file").
  llmopt_status open(const char *path, const char *what, llmopt_error *error);
  int fd() const { return descriptor; }
  uint64_t size() const { return length; }

private:
  int descriptor = -1;
  uint64_t length = 0;
};

} // namespace llmopt::rt

#endif
