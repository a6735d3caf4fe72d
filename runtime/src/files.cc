#include "files.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace llmopt::rt;

File::~File() {
  if (descriptor >= 0)
    close(descriptor);
}

llmopt_status File::open(const char *path, const char *what, llmopt_error *error) {
  // O_NONBLOCK: opening a FIFO must fail below, not wait for a writer.
  int fd = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return fail(error, errno == ENOENT || errno == ENOTDIR ? LLMOPT_NOT_FOUND : LLMOPT_IO_ERROR, "%s: %s: %s", path,
                what, ErrnoText(errno).c_str());
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    return fail(error, LLMOPT_IO_ERROR, "%s: %s: expected a regular file", path, what);
  }
  if (descriptor >= 0)
    close(descriptor);
  descriptor = fd;
  length = static_cast<uint64_t>(info.st_size);
  return LLMOPT_OK;
}
