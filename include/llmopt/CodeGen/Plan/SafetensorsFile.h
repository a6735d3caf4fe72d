// Canonical weights as a safetensors file: an 8-byte little-endian header length, a
// JSON header, tensors one behind the other (github.com/huggingface/safetensors).
#ifndef LLMOPT_CODEGEN_PLAN_SAFETENSORSFILE_H
#define LLMOPT_CODEGEN_PLAN_SAFETENSORSFILE_H

#include "llmopt/CodeGen/Plan/Tables.h"

#include "llvm/Support/Error.h"

namespace llmopt {

/// Writes all canonical weights that the model's recipes read and its parameters, under
/// their ONNX names, streaming. Elements of less than a byte take one byte each.
llvm::Error writeSafetensors(const PlannedModel &model, llvm::StringRef path);

} // namespace llmopt

#endif
