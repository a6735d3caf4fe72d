// Globs over the names of weights and modules, and what to say where one matches nothing.
#ifndef LLMOPT_LIB_TRANSFORMS_TRAINING_NAMEGLOBS_H
#define LLMOPT_LIB_TRANSFORMS_TRAINING_NAMEGLOBS_H

#include "mlir/IR/Operation.h"
#include "llvm/ADT/BitVector.h"

#include <string>
#include <vector>

namespace llmopt {

/// Which of `candidates`, each with all names that it goes by, match one of `globs`. A
/// glob that is none, or that matches nothing, is an error at `op` that begins with
/// `option` and lists near names; `what` says what is looked for.
mlir::FailureOr<llvm::BitVector> matchGlobs(mlir::Operation *op, llvm::StringRef option, llvm::StringRef what,
                                            llvm::ArrayRef<std::string> globs,
                                            llvm::ArrayRef<std::vector<std::string>> candidates);

} // namespace llmopt

#endif
