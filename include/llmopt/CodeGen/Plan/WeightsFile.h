// Writing the weights of a planned model (Runtime/abi.h: llmopt_weights_header).
#ifndef LLMOPT_CODEGEN_PLAN_WEIGHTSFILE_H
#define LLMOPT_CODEGEN_PLAN_WEIGHTSFILE_H

#include "llmopt/CodeGen/Plan/Tables.h"
#include "llmopt/Support/AtomicFile.h"

namespace llmopt {

/// Weights appended to a file: as the whole of a weights file, or as the tail of
/// an artefact.
class WeightsWriter {
public:
  /// `tail`: data is aligned for mapping, and `finish` adds the footer.
  WeightsWriter(AtomicFile &file, bool tail) : file(file), tail(tail) {}

  /// Leaves room for the header, carries the recipes out and appends what they
  /// give, one tensor at a time. Inputs are dropped from memory behind it.
  llvm::Error write(const PlannedModel &model);
  /// XXH64 of the data, after `write`.
  uint64_t getDataHash() const { return dataHash; }
  /// Fills in the header. The file is the caller's to commit.
  llvm::Error finish(const PlannedModel &model);

private:
  AtomicFile &file;
  bool tail;
  uint64_t headerAt = 0, dataAt = 0, dataHash = 0;
};

/// What a recipe gives (isRecipe), in the form of the runtime: for passes that
/// compute on weights. Whole in memory.
llvm::Expected<std::vector<char>> readWeight(mlir::Value value);

} // namespace llmopt

#endif
