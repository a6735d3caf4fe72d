#include "file_writer.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

using namespace llmopt::rt;

FileWriter::~FileWriter() {
  if (descriptor < 0)
    return;
  close(descriptor);
  unlink(temporary.c_str());
}

llmopt_status FileWriter::failure(const char *what, llmopt_error *error) {
  return fail(error, LLMOPT_IO_ERROR, "%s: %s: %s", path.c_str(), what, ErrnoText(errno).c_str());
}

llmopt_status FileWriter::open(const char *target, llmopt_error *error) {
  // The process id keeps two writers apart; what a crash left of the same id goes.
  size_t size = std::strlen(target) + 32;
  char *name = static_cast<char *>(std::malloc(size));
  if (!temporary.adopt(name) || !path.assign(target))
    return fail(error, LLMOPT_OUT_OF_MEMORY, "%s: out of memory", target);
  std::snprintf(name, size, "%s.%ld.tmp", target, static_cast<long>(getpid()));
  unlink(name);
  descriptor = ::open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0)
    return failure("cannot be written", error);
  return LLMOPT_OK;
}

llmopt_status FileWriter::write(const void *bytes, uint64_t size, llmopt_error *error) {
  const char *at = static_cast<const char *>(bytes);
  while (size) {
    ssize_t written = ::write(descriptor, at, size < (uint64_t(1) << 30) ? size : uint64_t(1) << 30);
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return failure("cannot be written", error);
    at += written;
    size -= static_cast<uint64_t>(written);
  }
  return LLMOPT_OK;
}

llmopt_status FileWriter::rewriteStart(const void *bytes, uint64_t size, llmopt_error *error) {
  if (lseek(descriptor, 0, SEEK_SET) < 0)
    return failure("cannot be written", error);
  return write(bytes, size, error);
}

llmopt_status FileWriter::commit(llmopt_error *error) {
  if (fsync(descriptor) != 0)
    return failure("cannot be brought to the disk", error);
  if (close(descriptor) != 0) {
    descriptor = -1;
    unlink(temporary.c_str());
    return failure("cannot be written", error);
  }
  descriptor = -1;
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    unlink(temporary.c_str());
    return failure("cannot be replaced", error);
  }
  return LLMOPT_OK;
}
