#ifndef LLMOPT_LIB_CODEGEN_CPU_MODELTABLESTOLLVM_H
#define LLMOPT_LIB_CODEGEN_CPU_MODELTABLESTOLLVM_H

#include "llmopt/CodeGen/Plan/ModelTables.h"

#include "llvm/ADT/StringRef.h"
#include <string>

namespace llvm {
class Module;
}

namespace llmopt::cpu {

/// Adds the tables as constants and `<prefix>llmopt_model_v1`, the function
/// that returns their address. Fails if a step's kernel is not in the module.
bool addModelTables(llvm::Module &module, const ModelTables &tables,
                    llvm::StringRef symbolPrefix, std::string &error);

} // namespace llmopt::cpu
#endif
