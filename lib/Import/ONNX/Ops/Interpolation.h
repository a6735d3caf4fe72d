// Reading tensors between their elements: which elements are near a position, what
// they weigh, and their values.
#ifndef LLMOPT_IMPORT_ONNX_OPS_INTERPOLATION_H
#define LLMOPT_IMPORT_ONNX_OPS_INTERPOLATION_H

#include "../OpTable.h"

namespace llmopt::onnx_import {

/// The elements near a position, [positions..., count].
struct Near {
  mlir::Value place;    // integers, in the type of the positions
  mlir::Value distance; // |position - place|
};
/// `count` elements, the first at floor(position) + first.
Near elementsNear(Node &n, mlir::Value position, const SymExpr &first, const SymExpr &count);

/// 1 - d up to 1, then 0: linear interpolation.
mlir::Value linearWeight(Node &n, mlir::Value distance);
/// Keys' cubic convolution with parameter a ("Cubic convolution interpolation for
/// digital image processing", 1981, equation 15), 0 from 2 on.
mlir::Value cubicWeight(Node &n, mlir::Value distance, double a);

/// place as i64, limited to [0, size).
mlir::Value asIndex(Node &n, mlir::Value place, const SymExpr &size);
/// 0 <= place < size.
mlir::Value isInside(Node &n, mlir::Value place, const SymExpr &size);

/// Which elements of one spatial dimension are read, [batch, points..., taps].
struct TapAxis {
  mlir::Value index;  // i64, in range
  mlir::Value inside; // what is false counts as 0; null: all true
  mlir::Value weight; // null: 1
};
/// The weighted elements of x [batch, channel, spatial...] at all combinations of the
/// taps of its dimensions: [batch, channel, points..., taps of each dimension...].
mlir::Value readTaps(Node &n, mlir::Value x, llvm::ArrayRef<TapAxis> axes);

} // namespace llmopt::onnx_import

#endif
