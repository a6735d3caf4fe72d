// Compiled code and its weights as files that belong together.
#ifndef LLMOPT_CODEGEN_PLAN_WRITEARTEFACT_H
#define LLMOPT_CODEGEN_PLAN_WRITEARTEFACT_H

#include "llmopt/CodeGen/Plan/Tables.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace llmopt {

/// Makes the build id of `text`, all that the code follows from.
void setBuildId(ModelTables &tables, llvm::StringRef text);
/// The build id proper: of code and weights.
void addDataHash(ModelTables &tables, uint64_t dataHash);

struct ArtefactPaths {
  std::string code;
  std::string weights; ///< empty: no weights file
  bool embed = false;  ///< the weights are the tail of the code's file
  bool executable = false;
};

/// Writes code that was compiled with the id of the code alone, which the id of code
/// and weights replaces once the weights are written: their hash is known only
/// then. Both files appear whole or not at all.
llvm::Error writeArtefact(PlannedModel &model, llvm::MutableArrayRef<char> code, const ArtefactPaths &paths);

} // namespace llmopt

#endif
