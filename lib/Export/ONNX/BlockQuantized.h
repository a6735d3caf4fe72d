// Linear layers with 4-bit weights in blocks: MatMulNBits of com.microsoft.
#ifndef LLMOPT_EXPORT_ONNX_BLOCKQUANTIZED_H
#define LLMOPT_EXPORT_ONNX_BLOCKQUANTIZED_H

#include "OpWriter.h"

namespace llmopt::onnx_export {

/// A weight of 4 bits behind a linear layer: values [N, blocks, size], or [blocks,
/// size, N] where the layer does not transpose, scales likewise with size 1.
struct BlockWeight {
  mlir::Value q, scale, zeroPoint;
  int64_t k = 0, n = 0, size = 0;
};

std::optional<BlockWeight> matchBlockWeight(lm::LinearOp linear);

/// Inputs that are quantized to int8 for such a weight become plain inputs; the
/// layer remembers by `lm.int8_inputs` to say so (accuracy_level 4), for there is no
/// other form of it that engines run fast.
void stripBlockInputs(mlir::func::FuncOp function);

/// Writes `linear`; its weight has matched.
void writeMatMulNBits(OpWriter &w, lm::LinearOp linear, const BlockWeight &weight);

} // namespace llmopt::onnx_export

#endif
