// Bytes through the importer, and further: what must hold of any file whatever.
#ifndef LLMOPT_TEST_FUZZ_FUZZIMPORT_H
#define LLMOPT_TEST_FUZZ_FUZZIMPORT_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <string>

namespace llmopt::fuzz {

/// Imports the model at `path`; `module` is null where it is not one. Returns "",
/// or what is wrong: a failure without a message, a message of several lines or of
/// bytes that no terminal shows, a module that does not verify.
std::string checkImport(mlir::MLIRContext &context, llvm::StringRef path, mlir::OwningOpRef<mlir::ModuleOp> &module);

/// Raises and plans what checkImport gave, for any CPU (FuzzPlan.cpp). Returns "",
/// or what is wrong; a plan that fails with a message is fine, and not `planned`.
std::string checkPlan(mlir::ModuleOp module, bool &planned);

} // namespace llmopt::fuzz

#endif
