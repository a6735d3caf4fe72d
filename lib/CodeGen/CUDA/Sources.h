// A plan as text: the kernels, the tables, and what compiles them.
#ifndef LLMOPT_LIB_CODEGEN_CUDA_SOURCES_H
#define LLMOPT_LIB_CODEGEN_CUDA_SOURCES_H

#include "StepEmitter.h"

#include "llvm/Support/raw_ostream.h"

namespace llmopt::cuda {

struct Sources {
  PlannedModel model;
  std::vector<CudaKernel> kernels;
  /// "80", "90a": what device code is compiled for, ascending.
  std::vector<std::string> architectures;
  std::string symbolPrefix;
};

/// Kernels and tables of @main. `tuneFile`: see TuneTable::load. A failure has been reported.
mlir::FailureOr<Sources> planSources(mlir::ModuleOp plan, llvm::ArrayRef<std::string> architectures,
                                     llvm::StringRef symbolPrefix, llvm::StringRef tuneFile);

/// model.cu: one function per kernel.
std::string printKernels(const Sources &sources);
/// model_emulation.cpp: model.cu for a CPU, and its kernels by name.
std::string printEmulation(const Sources &sources);
/// model_tables.cpp: the tables of Runtime/abi.h, around the device code; with
/// LLMOPT_EMULATE around the functions of model_emulation.cpp.
std::string printTables(const Sources &sources);
std::string printHeader(const Sources &sources); // model.h
std::string printCMake(const Sources &sources);
std::string printReadme(const Sources &sources);

/// "-gencode=..": device code for every architecture, and PTX of the newest for later ones.
std::vector<std::string> getCodeOptions(const Sources &sources);
/// The same for the tables: "sm_80,sm_90a,compute_90a".
std::string getArchitectureList(const Sources &sources);

/// Writes all of this below `folder`, with the header library.
llvm::Error writeSources(const Sources &sources, llvm::StringRef folder);

} // namespace llmopt::cuda

#endif
