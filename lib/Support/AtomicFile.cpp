#include "llmopt/Support/AtomicFile.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace llmopt;
using llvm::Error;
using llvm::StringRef;

static constexpr uint64_t kFlushBytes = 64u << 20;
/// Zeros of at least this size become a hole in the file.
static constexpr size_t kHoleBytes = 256u << 10;

AtomicFile::AtomicFile(std::string path, std::string temporary, int fd)
    : path(std::move(path)), temporary(std::move(temporary)), fd(fd) {}

AtomicFile::AtomicFile(AtomicFile &&other)
    : path(std::move(other.path)), temporary(std::move(other.temporary)), fd(other.fd), position(other.position),
      flushed(other.flushed) {
  other.fd = -1;
}

AtomicFile::~AtomicFile() {
  if (fd < 0)
    return;
  ::close(fd);
  ::unlink(temporary.c_str());
}

Error AtomicFile::fail(const char *what) const {
  std::error_code code(errno, std::generic_category());
  return llvm::createStringError(code, "%s: cannot %s: %s", path.c_str(), what, code.message().c_str());
}

llvm::Expected<AtomicFile> AtomicFile::create(StringRef path) {
  // A rename over a link would replace the link, not what it points to.
  llvm::SmallString<128> real;
  std::string target = llvm::sys::fs::real_path(path, real) ? path.str() : real.str().str();
  if (llvm::sys::fs::is_directory(target))
    return llvm::createStringError(std::make_error_code(std::errc::is_a_directory), "%s: cannot write: is a directory",
                                   target.c_str());
  // Nor may it replace a device.
  struct stat status;
  if (::stat(target.c_str(), &status) == 0 && !S_ISREG(status.st_mode))
    return llvm::createStringError(std::make_error_code(std::errc::invalid_argument),
                                   "%s: cannot write: expected a regular file", target.c_str());
  std::string temporary = target + ".XXXXXX";
  int fd = ::mkostemp(temporary.data(), O_CLOEXEC);
  AtomicFile file(target, temporary, fd);
  if (fd < 0)
    return file.fail("create");
  mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(fd, 0666 & ~mask);
  return file;
}

static bool isZero(const char *data, size_t size) {
  return size > 0 && data[0] == 0 && std::memcmp(data, data + 1, size - 1) == 0;
}

Error AtomicFile::write(llvm::ArrayRef<char> bytes) {
  while (!bytes.empty()) {
    llvm::ArrayRef<char> block = bytes.take_front(kHoleBytes);
    bytes = bytes.drop_front(block.size());
    if (block.size() == kHoleBytes && isZero(block.data(), block.size())) {
      if (::lseek(fd, block.size(), SEEK_CUR) < 0)
        return fail("write");
      position += block.size();
    } else if (Error error = writeBlock(block)) {
      return error;
    }
    if (position - flushed >= kFlushBytes) {
      if (::fdatasync(fd) != 0)
        return fail("write");
      ::posix_fadvise(fd, flushed, position - flushed, POSIX_FADV_DONTNEED);
      flushed = position;
    }
  }
  return Error::success();
}

Error AtomicFile::writeBlock(llvm::ArrayRef<char> bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return fail("write");
    bytes = bytes.drop_front(written);
    position += written;
  }
  return Error::success();
}

Error AtomicFile::pad(uint64_t alignment) {
  static const char zeros[4096] = {};
  uint64_t left = (alignment - position % alignment) % alignment;
  while (left > 0) {
    uint64_t count = std::min<uint64_t>(left, sizeof(zeros));
    if (Error error = write({zeros, count}))
      return error;
    left -= count;
  }
  return Error::success();
}

Error AtomicFile::overwrite(uint64_t offset, llvm::ArrayRef<char> bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return fail("write");
    offset += written;
    bytes = bytes.drop_front(written);
  }
  return Error::success();
}

Error AtomicFile::makeExecutable() {
  struct stat status;
  if (::fstat(fd, &status) != 0 || ::fchmod(fd, status.st_mode | ((status.st_mode & 0444) >> 2)) != 0)
    return fail("change the mode");
  return Error::success();
}

Error AtomicFile::sync() {
  // A file that ends in a hole has not its length yet.
  if (::ftruncate(fd, position) != 0 || ::fsync(fd) != 0)
    return fail("write");
  return Error::success();
}

Error AtomicFile::commit() {
  if (Error error = sync())
    return error;
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    return fail("rename");
  ::close(fd);
  fd = -1;
  return Error::success();
}

Error llmopt::writeFileAtomically(StringRef path, llvm::ArrayRef<char> bytes, bool executable) {
  llvm::Expected<AtomicFile> file = AtomicFile::create(path);
  if (!file)
    return file.takeError();
  if (Error error = file->write(bytes))
    return error;
  if (executable)
    if (Error error = file->makeExecutable())
      return error;
  return file->commit();
}
