// The tables of Runtime/abi.h as C++ text.
#ifndef LLMOPT_LIB_CODEGEN_CUDA_TABLESTEXT_H
#define LLMOPT_LIB_CODEGEN_CUDA_TABLESTEXT_H

#include "llmopt/CodeGen/Plan/ModelTables.h"

#include "llvm/Support/raw_ostream.h"

namespace llmopt::cuda {

/// Prints the tables and `<symbolPrefix>llmopt_model_v1`. Step kernels are called
/// `run_<kernel>` and must be declared before.
void printTables(const ModelTables &tables, llvm::StringRef symbolPrefix, llvm::raw_ostream &os);

} // namespace llmopt::cuda

#endif
