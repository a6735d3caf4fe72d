// Quantized values, for the families of operators that have them.
#ifndef LLMOPT_IMPORT_ONNX_OPS_QUANTBUILDER_H
#define LLMOPT_IMPORT_ONNX_OPS_QUANTBUILDER_H

#include "Node.h"

namespace llmopt::onnx_import {

/// A scale or zero point so that it broadcasts to x: per tensor, along `axis`, or
/// per block of `block` elements along it. Null stays null.
mlir::Value spread(Node &n, mlir::Value v, mlir::Value x, int64_t axis, int64_t block);

/// lm.quantize to the integer `type`.
mlir::Value quantizeTo(Node &n, mlir::Value x, mlir::Value scale, mlir::Value zero, mlir::Type type);

/// (a - zeroA) (b - zeroB) in 32 bits. Zero points may be null; zeroA is per tensor
/// or per row, zeroB per tensor or per column.
mlir::Value integerProduct(Node &n, mlir::Value a, mlir::Value zeroA, mlir::Value b, mlir::Value zeroB);

/// The integers of `bits` (2, 4 or 8) that bytes [.., X] hold, as bytes
/// [.., X * 8 / bits]: those in the low bits first, or last.
mlir::Value unpackBits(Node &n, mlir::Value bytes, int64_t bits, bool lowFirst = true);

} // namespace llmopt::onnx_import

#endif
