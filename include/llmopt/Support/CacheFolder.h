// Results that took long, kept by the hash of what they depend on.
#ifndef LLMOPT_SUPPORT_CACHEFOLDER_H
#define LLMOPT_SUPPORT_CACHEFOLDER_H

#include "llmopt/Support/AtomicFile.h"

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/BLAKE3.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/MemoryBuffer.h"

#include <memory>
#include <string>
#include <vector>

namespace llmopt {

/// Collects what a result depends on. Parts do not run into each other: each is
/// hashed with its length.
class CacheKey {
public:
  CacheKey &add(llvm::StringRef part);
  CacheKey &add(int64_t number);
  std::array<uint8_t, 32> getDigest() { return hasher.final(); }

private:
  llvm::BLAKE3 hasher;
};

/// The BLAKE3 hash of the running program, in hexadecimal; empty where it cannot be
/// read. Results of another build may differ in their last bits.
llvm::StringRef getProgramHash();

/// A folder of files named after keys (docs/formats.md). It is made when something is
/// first kept, and holds at most 4 GB: what was not read for longest goes.
class CacheFolder {
public:
  using Key = std::array<uint8_t, 32>;

  /// An empty path turns it off: nothing is found, nothing is kept.
  explicit CacheFolder(llvm::StringRef path = "") : path(path) {}

  /// $XDG_CACHE_HOME/llmopt or $HOME/.cache/llmopt; empty where neither is set.
  static std::string getDefaultPath();

  bool isOn() const { return !path.empty(); }
  llvm::StringRef getPath() const { return path; }

  /// An entry that was checked. The bytes are those of `buffer`.
  struct Entry {
    std::unique_ptr<llvm::MemoryBuffer> buffer;
    llvm::StringRef bytes;
  };
  /// No buffer where there is none. A file that is damaged is an error that names it.
  llvm::Expected<Entry> find(const Key &key) const;

  /// Writes beside the folder's files; only commit() makes it an entry.
  llvm::Error keep(const Key &key, llvm::StringRef bytes);
  llvm::Error commit();

private:
  std::string getFile(const Key &key) const;
  void dropOldest() const;

  std::string path;
  std::vector<AtomicFile> pending;
};

} // namespace llmopt

#endif
