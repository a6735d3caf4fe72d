// Which files a model may name as the place of its tensors.
#ifndef LLMOPT_IMPORT_ONNX_EXTERNALDATA_H
#define LLMOPT_IMPORT_ONNX_EXTERNALDATA_H

#include "MappedFile.h"

#include "llvm/ADT/StringMap.h"

#include <vector>

namespace llmopt::onnx_import {

/// The external data files of one model.
class ExternalData {
public:
  /// `modelPath` is the path the user gave.
  explicit ExternalData(llvm::StringRef modelPath);

  struct File {
    std::string path; // absolute and resolved
    std::unique_ptr<MappedFile> mapped;
  };

  /// The file named by `location`. It must be relative, free of `..`, regular,
  /// and, with symbolic links resolved, lie under the directory of the model or
  /// of the file the model's path links to (caches are made of links). On
  /// failure returns null and sets `error`; the same for every later request.
  const File *open(llvm::StringRef location, std::string &error);

  /// Whether `error` says that a file does not exist.
  static bool isMissing(llvm::StringRef error) { return error.ends_with(kMissing); }

private:
  static constexpr llvm::StringLiteral kMissing = "does not exist beside the model";
  std::string openNew(llvm::StringRef location, File &file);

  std::string directory;            // as given
  std::vector<std::string> allowed; // resolved, with a final '/'
  llvm::StringMap<std::pair<std::unique_ptr<File>, std::string>> files;
};

} // namespace llmopt::onnx_import

#endif
