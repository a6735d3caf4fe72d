// Files that appear whole or not at all: written beside their place, synced, renamed.
#ifndef LLMOPT_RT_TRAIN_FILE_WRITER_H
#define LLMOPT_RT_TRAIN_FILE_WRITER_H

#include "../common.h"

namespace llmopt::rt {

class FileWriter {
public:
  FileWriter() = default;
  FileWriter(const FileWriter &) = delete;
  FileWriter &operator=(const FileWriter &) = delete;
  ~FileWriter(); ///< removes what was not committed

  llmopt_status open(const char *path, llmopt_error *error);
  llmopt_status write(const void *bytes, uint64_t size, llmopt_error *error);
  /// Overwrites what was written at the start.
  llmopt_status rewriteStart(const void *bytes, uint64_t size, llmopt_error *error);
  llmopt_status commit(llmopt_error *error);

private:
  llmopt_status failure(const char *what, llmopt_error *error);

  int descriptor = -1;
  String path, temporary;
};

} // namespace llmopt::rt

#endif
