#include "llmopt/Support/CacheFolder.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

using namespace llmopt;
using llvm::StringRef;

static constexpr char kMagic[8] = {'L', 'L', 'M', 'O', 'P', 'T', 'C', '1'};
static constexpr size_t kDigestBytes = 32;
/// Magic, key, size and hash of what follows.
static constexpr size_t kHeaderBytes = sizeof(kMagic) + kDigestBytes + sizeof(uint64_t) + kDigestBytes;
static constexpr uint64_t kFolderBytes = uint64_t(4) << 30;
static constexpr StringRef kSuffix = ".cache";

CacheKey &CacheKey::add(StringRef part) {
  uint64_t size = part.size();
  hasher.update(StringRef(reinterpret_cast<const char *>(&size), sizeof(size)));
  hasher.update(part);
  return *this;
}

CacheKey &CacheKey::add(int64_t number) {
  return add(StringRef(reinterpret_cast<const char *>(&number), sizeof(number)));
}

static std::array<uint8_t, kDigestBytes> hash(StringRef bytes) {
  llvm::BLAKE3 hasher;
  hasher.update(bytes);
  return hasher.final();
}

StringRef llmopt::getProgramHash() {
  static const std::string text = []() -> std::string {
    std::string program = llvm::sys::fs::getMainExecutable(nullptr, nullptr);
    auto buffer = llvm::MemoryBuffer::getFile(program, /*IsText=*/false, /*RequiresNullTerminator=*/false);
    return buffer ? llvm::toHex(hash((*buffer)->getBuffer()), /*LowerCase=*/true) : "";
  }();
  return text;
}

std::string CacheFolder::getDefaultPath() {
  llvm::SmallString<128> path;
  const char *base = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
  if (base && llvm::sys::path::is_absolute(base)) // others are to be ignored, says the specification
    path = base;
  else if (home && llvm::sys::path::is_absolute(home))
    llvm::sys::path::append(path, home, ".cache");
  else
    return "";
  llvm::sys::path::append(path, "llmopt");
  return path.str().str();
}

std::string CacheFolder::getFile(const Key &key) const {
  llvm::SmallString<128> file(path);
  llvm::sys::path::append(file, llvm::toHex(key, /*LowerCase=*/true) + kSuffix.str());
  return file.str().str();
}

/// Marks a file as read just now.
static void touch(StringRef file) {
  int fd;
  if (llvm::sys::fs::openFileForWrite(file, fd, llvm::sys::fs::CD_OpenExisting, llvm::sys::fs::OF_Append))
    return; // a folder that others filled may be read only
  auto now = std::chrono::system_clock::now();
  (void)llvm::sys::fs::setLastAccessAndModificationTime(fd, now, now);
  auto native = llvm::sys::fs::convertFDToNativeFile(fd);
  (void)llvm::sys::fs::closeFile(native);
}

llvm::Expected<CacheFolder::Entry> CacheFolder::find(const Key &key) const {
  if (!isOn())
    return Entry();
  std::string file = getFile(key);
  auto buffer = llvm::MemoryBuffer::getFile(file, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer) {
    if (buffer.getError() == std::errc::no_such_file_or_directory)
      return Entry();
    return llvm::createStringError(buffer.getError(), file + ": " + buffer.getError().message());
  }
  StringRef bytes = (*buffer)->getBuffer();
  auto damaged = [&](const char *why) { return llvm::createStringError(file + ": damaged: " + why); };
  if (bytes.size() < kHeaderBytes || std::memcmp(bytes.data(), kMagic, sizeof(kMagic)) != 0)
    return damaged("no header");
  const char *at = bytes.data() + sizeof(kMagic);
  if (std::memcmp(at, key.data(), key.size()) != 0)
    return damaged("it belongs to another name");
  uint64_t size;
  std::memcpy(&size, at + kDigestBytes, sizeof(size));
  StringRef content = bytes.drop_front(kHeaderBytes);
  if (content.size() != size)
    return damaged("its length is not that of its header");
  if (std::memcmp(hash(content).data(), at + kDigestBytes + sizeof(size), kDigestBytes) != 0)
    return damaged("its hash is not that of its header");
  touch(file);
  Entry entry;
  entry.buffer = std::move(*buffer);
  entry.bytes = content;
  return entry;
}

llvm::Error CacheFolder::keep(const Key &key, StringRef bytes) {
  if (!isOn())
    return llvm::Error::success();
  if (std::error_code error = llvm::sys::fs::create_directories(path))
    return llvm::createStringError(error, path + ": " + error.message());
  llvm::Expected<AtomicFile> file = AtomicFile::create(getFile(key));
  if (!file)
    return file.takeError();
  std::string header(kMagic, sizeof(kMagic));
  uint64_t size = bytes.size();
  header.append(key.begin(), key.end());
  header.append(reinterpret_cast<const char *>(&size), sizeof(size));
  for (uint8_t byte : hash(bytes))
    header.push_back(static_cast<char>(byte));
  if (llvm::Error error = file->write({header.data(), header.size()}))
    return error;
  if (llvm::Error error = file->write({bytes.data(), bytes.size()}))
    return error;
  pending.push_back(std::move(*file));
  return llvm::Error::success();
}

llvm::Error CacheFolder::commit() {
  std::vector<AtomicFile> files = std::move(pending);
  pending.clear();
  for (AtomicFile &file : files)
    if (llvm::Error error = file.commit())
      return error;
  if (!files.empty())
    dropOldest();
  return llvm::Error::success();
}

void CacheFolder::dropOldest() const {
  struct File {
    std::string path;
    llvm::sys::TimePoint<> used;
    uint64_t bytes;
  };
  std::vector<File> files;
  uint64_t total = 0;
  std::error_code error;
  for (llvm::sys::fs::directory_iterator it(path, error), end; it != end && !error; it.increment(error)) {
    llvm::sys::fs::file_status status;
    if (!StringRef(it->path()).ends_with(kSuffix) || llvm::sys::fs::status(it->path(), status))
      continue;
    files.push_back({it->path(), status.getLastModificationTime(), status.getSize()});
    total += status.getSize();
  }
  std::sort(files.begin(), files.end(), [](const File &a, const File &b) { return a.used < b.used; });
  for (const File &file : files) {
    if (total <= kFolderBytes)
      return;
    if (!llvm::sys::fs::remove(file.path))
      total -= file.bytes;
  }
}
