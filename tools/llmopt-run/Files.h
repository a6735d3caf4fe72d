// Files that appear whole or not at all, and the checks around them.
#ifndef LLMOPT_RUN_FILES_H
#define LLMOPT_RUN_FILES_H

#include "Failure.h"

namespace llmopt::run {

/// The size of a regular file; throws for anything else.
uint64_t requireRegularFile(const std::string &path);

class Descriptor {
public:
  explicit Descriptor(int fd) : fd(fd) {}
  Descriptor(const Descriptor &) = delete;
  Descriptor &operator=(const Descriptor &) = delete;
  ~Descriptor();
  int get() const { return fd; }

private:
  int fd;
};

/// A temporary beside `path` that becomes `path` on commit and goes otherwise.
class PendingFile {
public:
  explicit PendingFile(const std::string &path);
  PendingFile(const PendingFile &) = delete;
  PendingFile &operator=(const PendingFile &) = delete;
  ~PendingFile();

  const std::string &temporary() const { return temporaryPath; }
  void write(const char *data, size_t size);
  /// Flushes to disk, then renames.
  void commit();

private:
  std::string path, temporaryPath;
};

} // namespace llmopt::run

#endif
