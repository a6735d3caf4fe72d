// The bytes behind `lm.weight` operations.
//
// Files of `#lm.file` are mapped read-only, once each, and stay mapped as long
// as the context lives; nothing is copied. There is one store per MLIRContext,
// owned by the lm dialect, so that passes, folds and the evaluator need no
// extra argument. Functions may be called from several threads.
//
// Paths are taken as they are (relative ones from the working directory):
// whether a model may name a file is decided where it is imported. A file that
// someone truncates while it is mapped ends the process by SIGBUS, as any
// mapping does.
#ifndef LLMOPT_DIALECT_LM_IR_WEIGHTSTORE_H
#define LLMOPT_DIALECT_LM_IR_WEIGHTSTORE_H

#include "llmopt/Dialect/LM/IR/LM.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Error.h"

#include <mutex>
#include <vector>

namespace llmopt::lm {

class WeightStore {
public:
  WeightStore() = default;
  ~WeightStore();
  WeightStore(const WeightStore &) = delete;
  WeightStore &operator=(const WeightStore &) = delete;

  /// The store of a context; the lm dialect must be loaded.
  static WeightStore &get(mlir::MLIRContext *context);

  /// The mapped bytes of a file attribute. Fails on a path that cannot be
  /// opened or is no regular file, and on a range that the file does not hold.
  llvm::Expected<llvm::ArrayRef<char>> getBytes(FileAttr file);
  /// The bytes of a weight: those of its file, or of its elements where they
  /// are stored as the runtime wants them (no splat, no i1; see getTensor). Drawn
  /// elements are kept from the first call on: heads and adapters are small.
  llvm::Expected<llvm::ArrayRef<char>> getBytes(WeightOp weight);

  /// Tells the system that the pages of a file range are not needed for now;
  /// they are read again on the next access.
  void release(FileAttr file);
  void release(WeightOp weight);

private:
  struct Mapping {
    char *data = nullptr;
    uint64_t size = 0;
  };
  llvm::Expected<Mapping> map(llvm::StringRef path);

  llvm::ArrayRef<char> draw(WeightOp weight, DrawnAttr source);

  std::mutex mutex;
  llvm::DenseMap<std::pair<mlir::StringAttr, std::pair<mlir::Attribute, mlir::Type>>, std::vector<float>> drawn;
  llvm::StringMap<Mapping> mappings;
};

} // namespace llmopt::lm

#endif
