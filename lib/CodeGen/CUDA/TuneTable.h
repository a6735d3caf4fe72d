// Which products a library computes faster than our kernels: measured (scripts/gpu-check), one
// file per GPU in tune/, described in docs/formats.md.
#ifndef LLMOPT_LIB_CODEGEN_CUDA_TUNETABLE_H
#define LLMOPT_LIB_CODEGEN_CUDA_TUNETABLE_H

#include "llmopt/CodeGen/Plan/ModelTables.h"

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <vector>

namespace llmopt::cuda {

class TuneTable {
public:
  struct Entry {
    std::string type, epilogue; ///< "f16"; "bias", "bias+gelu_tanh", "bias+residual", "none"..
    int64_t n, k;
    ModelTables::LibraryChoice choice;
  };

  /// The files of tune/, and `path` before them where it is not empty: the first file that
  /// names a device counts for it.
  static llvm::Expected<TuneTable> load(llvm::StringRef path);

  /// What was measured of a product, for all devices and numbers of rows.
  std::vector<ModelTables::LibraryChoice> find(llvm::StringRef type, int64_t n, int64_t k,
                                               llvm::StringRef epilogue) const;

private:
  llvm::Error add(llvm::StringRef text, llvm::StringRef path);
  std::vector<Entry> entries;
  std::vector<std::string> devices;
};

} // namespace llmopt::cuda

#endif
