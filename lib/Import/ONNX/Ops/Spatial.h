// What operators over the dimensions behind batch and channel share: their
// attributes, padding and windows.
#ifndef LLMOPT_IMPORT_ONNX_OPS_SPATIAL_H
#define LLMOPT_IMPORT_ONNX_OPS_SPATIAL_H

#include "../OpTable.h"

namespace llmopt::onnx_import {

/// The attributes of a convolution or pool, one entry per spatial dimension.
struct Spatial {
  Dims kernel;
  Ints strides, dilations;
  /// What is added on both sides; `extra` more on the upper one, so that the last
  /// windows (ceil_mode) fit, which counts as no padding.
  Dims low, high, extra;
  /// How many windows there are.
  Dims counts;

  size_t rank() const { return kernel.size(); }
  /// Elements between the first and the last one of a window, both included.
  SymExpr reach(size_t i) const { return (kernel[i] - SymExpr(1)) * SymExpr(dilations[i]) + SymExpr(1); }
  bool isPadded() const;
};

/// Reads strides, dilations, pads, auto_pad and ceil_mode for an operand
/// [batch, channel, spatial...]; nullopt after an error.
std::optional<Spatial> readSpatial(Node &n, mlir::Value x, Dims kernel);
/// Attribute `kernel_shape`; empty after an error.
Ints readKernelShape(Node &n, mlir::Value x);
/// The spatial dimensions of a weight, which takes the numbers of `kernel_shape` for
/// them where that is given; empty after an error.
Dims kernelOf(Node &n, mlir::Value x, mlir::Value &weight);
/// Numbers as dimensions.
inline Dims asDims(llvm::ArrayRef<int64_t> sizes) { return Dims(sizes.begin(), sizes.end()); }
/// Attribute `name`, one integer in [least, 2^20] per dimension, or `fallback`.
Ints readInts(Node &n, llvm::StringRef name, size_t count, int64_t fallback, int64_t least);

/// Notes that a dimension has `wanted` elements; an error where it is known to have
/// not.
void requireSize(Node &n, mlir::Value x, unsigned i, const SymExpr &wanted, const llvm::Twine &what);
/// A size as a scalar i64.
mlir::Value sizeScalar(Node &n, const SymExpr &size);
/// The elements of a constant or weight of floats; nullopt for anything else.
std::optional<llvm::SmallVector<double>> constantFloats(mlir::Value value);

/// x in a frame of `filler` (a scalar); counts that are negative cut.
mlir::Value padOrCut(Node &n, mlir::Value x, Dims low, Dims high, mlir::Value filler);
/// The windows of x [.., spatial...] padded by `filler`: [.., counts..., kernel...].
mlir::Value makeWindows(Node &n, mlir::Value x, const Spatial &spatial, mlir::Value filler);
/// `first`, `first` + 1, .. up to below `last`; none where that is not more.
Ints axesBetween(int64_t first, int64_t last);

} // namespace llmopt::onnx_import

#endif
