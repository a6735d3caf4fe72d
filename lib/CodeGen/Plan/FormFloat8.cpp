// Products of rows and weights in e4m3, quantized as the kernels do it; any other form
// stays as it is and runs as a product of dequantized values.
#include "Partition.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::plan;
using lm::getDims;
using lm::SymExpr;

/// Bytes that rows of a weight are whole multiples of.
static constexpr int64_t kChunk = 16;

static bool isFloat8(Value value) { return isa<Float8E4M3FNType>(getElementTypeOrSelf(value)); }

/// The quantization behind `value`: e4m3 with max |x| / 448 of every row.
static lm::QuantizeOp matchRows(Value value) {
  auto dequantize = value.getDefiningOp<lm::DequantizeOp>();
  auto quantize = dequantize ? dequantize.getInput().getDefiningOp<lm::QuantizeOp>() : lm::QuantizeOp();
  if (!quantize || dequantize.getZeroPoint() || quantize.getZeroPoint() || !isFloat8(quantize.getResult()) ||
      !quantize.getSaturate() || quantize.getScale() != dequantize.getScale() ||
      !getElementTypeOrSelf(quantize.getInput()).isF32())
    return {};
  auto scale = quantize.getScale().getDefiningOp<lm::AbsMaxScaleOp>();
  int64_t last = int64_t(getDims(quantize.getInput()).size()) - 1;
  return scale && scale.getInput() == quantize.getInput() && scale.getAxes() == ArrayRef<int64_t>{last} &&
                 scale.getQmax().isExactlyValue(448.0)
             ? quantize
             : lm::QuantizeOp();
}

/// The dequantization of an e4m3 [k, n] weight ([n, k] if `transposed`), one scale per column.
static lm::DequantizeOp matchWeight(Value value, bool transposed) {
  auto dequantize = value.getDefiningOp<lm::DequantizeOp>();
  if (!dequantize || dequantize.getZeroPoint() || !isFloat8(dequantize.getInput()) ||
      !isRecipe(dequantize.getInput()) || getDims(dequantize.getInput()).size() != 2)
    return {};
  auto scale = cast<RankedTensorType>(dequantize.getScale().getType());
  int64_t n = cast<RankedTensorType>(value.getType()).getDimSize(transposed ? 0 : 1);
  bool perColumn = transposed ? scale.getShape() == ArrayRef<int64_t>{n, 1}
                              : scale.getShape() == ArrayRef<int64_t>{1, n} || scale.getShape() == ArrayRef<int64_t>{n};
  return perColumn && scale.getElementType().isF32() && isRecipe(dequantize.getScale()) ? dequantize
                                                                                        : lm::DequantizeOp();
}

void plan::formFloat8Products(func::FuncOp function, const PlanTarget &target) {
  if (!target.hasFloat8())
    return;
  for (auto op : llvm::make_early_inc_range(function.getOps<lm::LinearOp>())) {
    bool transposed = op.getTransposeWeight();
    lm::DequantizeOp dequantize = matchWeight(op.getWeight(), transposed);
    lm::QuantizeOp quantize = matchRows(op.getInput());
    if (!dequantize || !quantize || !getElementTypeOrSelf(op.getType()).isF32())
      continue;
    auto matrix = cast<RankedTensorType>(op.getWeight().getType());
    int64_t k = matrix.getDimSize(transposed ? 1 : 0), n = matrix.getDimSize(transposed ? 0 : 1);
    if (!getDims(op.getInput()).back().isConstant(k))
      continue;
    OpBuilder builder(op);
    Value q = dequantize.getInput();
    Location loc = q.getLoc();
    if (transposed)
      q = lm::TransposeOp::create(builder, loc, q, ArrayRef<int64_t>{1, 0});
    Value packed = kernel::PackOp::create(builder, loc, q, kernel::Layout::Rows, kChunk);
    Value scale = lm::ReshapeOp::create(builder, loc, dequantize.getScale(), ArrayRef<SymExpr>{n});
    kernel::QuantizeRowsOp rows = getQuantizedRows(quantize);
    auto product =
        kernel::GemmF8Op::create(builder, op.getLoc(), op.getType(), rows.getResult(), rows.getScale(), packed, scale,
                                 op.getBias(), /*residual=*/Value(), n, k, kernel::Activation::None);
    op.getResult().replaceAllUsesWith(product.getResult());
    op.erase();
  }
}
