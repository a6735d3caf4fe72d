// What the partition asks the back end it plans for. Cuts and layouts differ
// between targets; the rules for correctness do not.
#ifndef LLMOPT_CODEGEN_PLAN_PLANTARGET_H
#define LLMOPT_CODEGEN_PLAN_PLANTARGET_H

#include "llmopt/Dialect/Kernel/IR/Kernel.h"

namespace llmopt {

class PlanTarget {
public:
  virtual ~PlanTarget();

  /// How the [k, n] weight of a gemm is packed.
  struct PackedLayout {
    kernel::Layout layout = kernel::Layout::Panels;
    int64_t width = 16;
  };
  virtual PackedLayout getGemmLayout(int64_t n, int64_t k) const = 0;

  /// Whether products of this element type have a kernel (else: loops).
  virtual bool hasGemm(mlir::Type elementType) const { return elementType.isF32(); }
  virtual bool hasAttention(lm::AttentionOp op) const;
  /// Whether kernel.loops may hold the operation; if not, why.
  virtual bool hasLoops(mlir::Operation *op, std::string &reason) const { return true; }
  virtual bool hasRows(mlir::Type elementType) const { return elementType.isF32(); }
};

/// Column panels of one width, as CPU kernels read them.
class PanelTarget : public PlanTarget {
public:
  explicit PanelTarget(int64_t width) : width(width) {}
  PackedLayout getGemmLayout(int64_t, int64_t) const override { return {kernel::Layout::Panels, width}; }

private:
  int64_t width;
};

} // namespace llmopt

#endif
