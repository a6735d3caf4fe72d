#include "Files.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace llmopt::run;

uint64_t llmopt::run::requireRegularFile(const std::string &path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0)
    throw Failure{BadData, path + ": " + strerror(errno)};
  if (!S_ISREG(info.st_mode))
    throw Failure{BadData, path + ": expected a regular file"};
  return uint64_t(info.st_size);
}

Descriptor::~Descriptor() {
  if (fd >= 0)
    close(fd);
}

PendingFile::PendingFile(const std::string &given) : path(given) {
  struct stat info;
  if (stat(given.c_str(), &info) == 0) {
    // A rename would replace a device or a link, not write to it.
    if (!S_ISREG(info.st_mode))
      throw Failure{Usage, given + ": expected a regular file as output"};
    if (char *resolved = realpath(given.c_str(), nullptr)) {
      path = resolved;
      std::free(resolved);
    }
  }
  std::string name = path + ".XXXXXX";
  Descriptor fd(mkostemp(&name[0], O_CLOEXEC));
  if (fd.get() < 0)
    throw Failure{Environment, given + ": cannot be written: " + strerror(errno)};
  temporaryPath = name;
  mode_t mask = umask(0);
  umask(mask);
  fchmod(fd.get(), 0666 & ~mask);
}

PendingFile::~PendingFile() {
  if (!temporaryPath.empty())
    unlink(temporaryPath.c_str());
}

void PendingFile::write(const char *data, size_t size) {
  Descriptor fd(open(temporaryPath.c_str(), O_WRONLY | O_CLOEXEC));
  while (size > 0) {
    ssize_t done = ::write(fd.get(), data, size < 1u << 30 ? size : 1u << 30);
    if (done < 0 && errno == EINTR)
      continue;
    if (done < 0)
      throw Failure{Environment, path + ": cannot be written: " + strerror(errno)};
    data += done;
    size -= size_t(done);
  }
}

void PendingFile::commit() {
  auto flush = [&](const std::string &what, int flags) {
    Descriptor fd(open(what.c_str(), flags | O_CLOEXEC));
    return fd.get() >= 0 && fsync(fd.get()) == 0;
  };
  if (!flush(temporaryPath, O_RDONLY) || rename(temporaryPath.c_str(), path.c_str()) != 0)
    throw Failure{Environment, path + ": cannot be written: " + strerror(errno)};
  temporaryPath.clear();
  // Without this the new name may be lost with the power; some file systems
  // refuse it, which loses nothing that is not lost already.
  size_t slash = path.rfind('/');
  flush(slash == std::string::npos ? "." : path.substr(0, slash + 1), O_RDONLY | O_DIRECTORY);
}
