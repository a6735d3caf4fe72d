// Compiled models, run in this process.
#ifndef LLMOPT_EXECUTION_ARTIFACT_H
#define LLMOPT_EXECUTION_ARTIFACT_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace llmopt {

/// A named array: row major, dense, little endian.
struct NamedArray {
  std::string name;
  uint32_t dtype = 0; ///< llmopt_dtype
  std::vector<int64_t> dims;
  std::vector<char> data;
};

/// A run that was prepared once, with its inputs, and may be repeated.
class RepeatedRun {
public:
  virtual ~RepeatedRun() = default;
  virtual llvm::Error run() = 0;
};

/// All arrays of a .npz file.
llvm::Expected<std::vector<NamedArray>> readArrays(llvm::StringRef npzPath);

/// The array of a .npy file, named after the file.
llvm::Expected<NamedArray> readArray(llvm::StringRef npyPath);

/// Loads an artefact, binds the shapes of `inputs` (by name) and runs it once.
/// Inputs that the artefact does not have are ignored; missing ones are an error.
llvm::Expected<std::vector<NamedArray>> runArtifact(llvm::StringRef path, llvm::ArrayRef<NamedArray> inputs);

} // namespace llmopt

#endif
