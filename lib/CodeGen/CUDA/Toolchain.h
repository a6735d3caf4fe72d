// The compilers behind a project: nvcc for the device, a C++ compiler for the host.
#ifndef LLMOPT_LIB_CODEGEN_CUDA_TOOLCHAIN_H
#define LLMOPT_LIB_CODEGEN_CUDA_TOOLCHAIN_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace llmopt::cuda {

/// Runs nvcc on folder/model.cu. `options` say what is made of it. A failure holds
/// nvcc's message and where the whole of it is.
llvm::Error runNvcc(llvm::StringRef folder, llvm::ArrayRef<std::string> options, llvm::StringRef output);

/// Compiles and links files of `folder` into a shared library.
llvm::Error linkHostLibrary(llvm::StringRef folder, llvm::ArrayRef<std::string> files,
                            llvm::ArrayRef<std::string> options, llvm::StringRef output);

} // namespace llmopt::cuda

#endif
