// What the partition asks the back end it plans for. Cuts and layouts differ
// between targets; the rules for correctness do not.
#ifndef LLMOPT_CODEGEN_PLAN_PLANTARGET_H
#define LLMOPT_CODEGEN_PLAN_PLANTARGET_H

#include "llmopt/Dialect/Kernel/IR/Kernel.h"

namespace llmopt {

class PlanTarget {
public:
  virtual ~PlanTarget();

  /// How the [k, n] weight of a gemm is packed; the width of rows counts elements.
  struct PackedLayout {
    kernel::Layout layout = kernel::Layout::Panels;
    int64_t width = 16;
  };
  virtual PackedLayout getGemmLayout(int64_t n, int64_t k, mlir::Type elementType) const = 0;

  /// How the int8 [k, n] weight of a gemm_s8 is packed. None: there is no such
  /// kernel, and quantized products run as f32 ones with the rest in loops.
  virtual std::optional<PackedLayout> getInt8Layout(int64_t n, int64_t k) const { return std::nullopt; }
  /// Whether gemm_s8 also takes rows that share one scale and perhaps a zero point
  /// (kernel.quantize_tensor).
  virtual bool hasInt8Tensors() const { return false; }

  /// Columns of a panel of a weight that stays int4 (kernel.gemm_w4a8, gemm_wq) or,
  /// beside float activations, int8. None: there are no such kernels, and products
  /// read dequantized weights.
  virtual std::optional<int64_t> getQuantizedWidth() const { return std::nullopt; }
  /// Whether a norm may quantize what it gives (kernel.norm_quantized).
  virtual bool hasQuantizedNorm() const { return false; }

  /// Whether products of this element type have a kernel (else: loops).
  virtual bool hasGemm(mlir::Type elementType) const { return elementType.isF32(); }
  virtual bool hasAttention(lm::AttentionOp op) const;
  /// Whether weights that are trained, and gradients of embedding tables, have kernels of
  /// their own (kernel.pack_panels, kernel.embedding_grad).
  virtual bool hasTraining() const { return false; }
  /// Whether kernel.loops may hold the operation; if not, why.
  virtual bool hasLoops(mlir::Operation *op, std::string &reason) const { return true; }
  virtual bool hasRows(mlir::Type elementType) const { return elementType.isF32(); }
};

/// Column panels of one width, as CPU kernels read them; int8 weights in `int8`.
class PanelTarget : public PlanTarget {
public:
  explicit PanelTarget(int64_t width, std::optional<kernel::Layout> int8 = kernel::Layout::Panels,
                       bool quantizedWeights = false)
      : width(width), int8(int8), quantizedWeights(quantizedWeights) {}
  PackedLayout getGemmLayout(int64_t, int64_t, mlir::Type) const override { return {kernel::Layout::Panels, width}; }
  std::optional<PackedLayout> getInt8Layout(int64_t, int64_t) const override {
    return int8 ? std::optional(PackedLayout{*int8, width}) : std::nullopt;
  }
  bool hasInt8Tensors() const override { return int8.has_value(); }
  std::optional<int64_t> getQuantizedWidth() const override {
    return quantizedWeights ? std::optional(width) : std::nullopt;
  }
  bool hasQuantizedNorm() const override { return quantizedWeights; }

private:
  int64_t width;
  std::optional<kernel::Layout> int8;
  bool quantizedWeights;
};

} // namespace llmopt

#endif
