#include "MappedFile.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace llmopt::onnx_import;

static std::string errnoText() {
  std::string text = std::strerror(errno);
  if (!text.empty())
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

std::unique_ptr<MappedFile> MappedFile::open(const std::string &path, std::string &error) {
  // O_NONBLOCK: opening a FIFO must not hang before fstat can refuse it.
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    error = errnoText();
    return nullptr;
  }
  struct stat info;
  if (::fstat(fd, &info) != 0) {
    error = errnoText();
    ::close(fd);
    return nullptr;
  }
  if (!S_ISREG(info.st_mode)) {
    error = S_ISDIR(info.st_mode) ? "expected a file, but got a directory" : "expected a regular file";
    ::close(fd);
    return nullptr;
  }
  size_t size = static_cast<size_t>(info.st_size);
  void *data = nullptr;
  if (size != 0) {
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      error = errnoText();
      ::close(fd);
      return nullptr;
    }
  }
  ::close(fd);
  return std::unique_ptr<MappedFile>(new MappedFile(static_cast<const uint8_t *>(data), size));
}

MappedFile::~MappedFile() {
  if (size != 0)
    ::munmap(const_cast<uint8_t *>(data), size);
}

void MappedFile::dropPages() const {
  if (size != 0)
    ::madvise(const_cast<uint8_t *>(data), size, MADV_DONTNEED);
}
