// A file mapped read-only. Reading a mapped page costs no anonymous memory, so
// models of any size can be looked at.
#ifndef LLMOPT_IMPORT_ONNX_MAPPEDFILE_H
#define LLMOPT_IMPORT_ONNX_MAPPEDFILE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <memory>
#include <string>

namespace llmopt::onnx_import {

class MappedFile {
public:
  /// Maps a regular file. On failure returns null and sets `error` to a text
  /// without the path ("no such file or directory").
  static std::unique_ptr<MappedFile> open(const std::string &path, std::string &error);
  ~MappedFile();
  MappedFile(const MappedFile &) = delete;
  MappedFile &operator=(const MappedFile &) = delete;

  llvm::ArrayRef<uint8_t> bytes() const { return {data, size}; }
  /// Gives pages back to the system; their contents stay readable.
  void dropPages() const;

private:
  MappedFile(const uint8_t *data, size_t size) : data(data), size(size) {}
  const uint8_t *data;
  size_t size;
};

} // namespace llmopt::onnx_import

#endif
