// Files that appear whole or not at all.
#ifndef LLMOPT_SUPPORT_ATOMICFILE_H
#define LLMOPT_SUPPORT_ATOMICFILE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <string>

namespace llmopt {

/// Writes to a temporary file beside `path` and renames it over `path` in
/// commit(), after fsync. Destroying an uncommitted file removes it. Every
/// error (a full disk above all) is returned, none is fatal.
class AtomicFile {
public:
  static llvm::Expected<AtomicFile> create(llvm::StringRef path);
  AtomicFile(AtomicFile &&other);
  AtomicFile &operator=(AtomicFile &&) = delete;
  ~AtomicFile();

  /// Appends. Written pages are handed to the disk and dropped from memory every
  /// 64 MB, so that a large file does not fill the page cache. Long runs of zeros
  /// (masked weights) take no space on the disk.
  llvm::Error write(llvm::ArrayRef<char> bytes);
  /// Appends zeros up to a multiple of `alignment`.
  llvm::Error pad(uint64_t alignment);
  /// Overwrites bytes written before.
  llvm::Error overwrite(uint64_t offset, llvm::ArrayRef<char> bytes);
  uint64_t size() const { return position; }
  /// The mode of an executable or shared library.
  llvm::Error makeExecutable();
  /// Brings what was written to the disk: after that a commit needs no space, so
  /// that files that belong together are all synced before one is committed.
  llvm::Error sync();
  llvm::Error commit();

private:
  AtomicFile(std::string path, std::string temporary, int fd);
  llvm::Error fail(const char *what) const;
  llvm::Error writeBlock(llvm::ArrayRef<char> bytes);

  std::string path, temporary;
  int fd;
  uint64_t position = 0, flushed = 0;
};

/// Writes a whole file at once.
llvm::Error writeFileAtomically(llvm::StringRef path, llvm::ArrayRef<char> bytes, bool executable = false);

} // namespace llmopt

#endif
