// The one place where ONNX names become text of a program.
#ifndef LLMOPT_LIB_CODEGEN_CUDA_NAMES_H
#define LLMOPT_LIB_CODEGEN_CUDA_NAMES_H

#include "llvm/ADT/StringRef.h"

#include <string>

namespace llmopt::cuda {

/// An identifier [A-Za-z0-9_] of at most 48 characters that begins with a letter;
/// names that had to be changed end in a hash of the original.
std::string toIdentifier(llvm::StringRef name);
/// Printable ASCII that cannot end a comment, continue a line or begin a
/// trigraph.
std::string toComment(llvm::StringRef text);
/// A C string literal with its quotes.
std::string toLiteral(llvm::StringRef text);

} // namespace llmopt::cuda

#endif
