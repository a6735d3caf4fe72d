// Products of quantized rows with a quantized weight. Both sides must be
// quantized as the kernels do it; any other form stays as it is and runs as a
// product of dequantized values.
#include "Partition.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::plan;
using lm::getDims;
using lm::SymExpr;

/// Sums of k products of bytes fit 32 bits.
static constexpr int64_t kMaxDepth = 131071;

static bool isInt8(Value value) { return getElementTypeOrSelf(value).isSignlessInteger(8); }

lm::QuantizeOp plan::matchQuantizedRows(Value value) {
  auto dequantize = value.getDefiningOp<lm::DequantizeOp>();
  if (!dequantize || dequantize.getZeroPoint())
    return {};
  auto quantize = dequantize.getInput().getDefiningOp<lm::QuantizeOp>();
  if (!quantize || quantize.getScale() != dequantize.getScale() || quantize.getZeroPoint() ||
      !quantize.getNarrowRange() || !isInt8(quantize.getResult()) || !getElementTypeOrSelf(quantize.getInput()).isF32())
    return {};
  auto scale = quantize.getScale().getDefiningOp<lm::AbsMaxScaleOp>();
  int64_t last = int64_t(getDims(quantize.getInput()).size()) - 1;
  if (!scale || scale.getInput() != quantize.getInput() || scale.getAxes() != ArrayRef<int64_t>{last} ||
      !scale.getQmax().isExactlyValue(127.0))
    return {};
  return quantize;
}

kernel::QuantizeRowsOp plan::getQuantizedRows(lm::QuantizeOp quantize) {
  for (Operation *user : quantize.getInput().getUsers())
    if (auto rows = dyn_cast<kernel::QuantizeRowsOp>(user); rows && rows->getBlock() == quantize->getBlock()) {
      if (!rows->isBeforeInBlock(quantize))
        rows->moveBefore(quantize);
      return rows;
    }
  OpBuilder builder(quantize);
  return kernel::QuantizeRowsOp::create(builder, quantize.getLoc(), quantize.getType(), quantize.getScale().getType(),
                                        quantize.getInput());
}

lm::DequantizeOp plan::matchInt8Weight(Value value, bool transposed) {
  auto dequantize = value.getDefiningOp<lm::DequantizeOp>();
  if (!dequantize || dequantize.getZeroPoint() || !isInt8(dequantize.getInput()) || !isRecipe(dequantize.getInput()) ||
      !isRecipe(dequantize.getScale()) || !getElementTypeOrSelf(dequantize.getScale()).isF32())
    return {};
  auto scale = cast<RankedTensorType>(dequantize.getScale().getType());
  int64_t n = cast<RankedTensorType>(value.getType()).getDimSize(transposed ? 0 : 1);
  bool perColumn = transposed ? scale.getShape() == ArrayRef<int64_t>{n, 1}
                              : scale.getShape() == ArrayRef<int64_t>{1, n} || scale.getShape() == ArrayRef<int64_t>{n};
  return perColumn ? dequantize : lm::DequantizeOp();
}

void plan::formInt8Products(func::FuncOp function, const PlanTarget &target) {
  for (auto op : llvm::make_early_inc_range(function.getOps<lm::LinearOp>())) {
    bool transposed = op.getTransposeWeight();
    lm::QuantizeOp quantize = matchQuantizedRows(op.getInput());
    lm::DequantizeOp weight = matchInt8Weight(op.getWeight(), transposed);
    if (!quantize || !weight || !getElementTypeOrSelf(op.getType()).isF32())
      continue;
    auto matrix = cast<RankedTensorType>(op.getWeight().getType());
    int64_t k = matrix.getDimSize(transposed ? 1 : 0), n = matrix.getDimSize(transposed ? 0 : 1);
    std::optional<PlanTarget::PackedLayout> layout = target.getInt8Layout(n, k);
    if (!layout || k > kMaxDepth || !getDims(op.getInput()).back().isConstant(k))
      continue;

    kernel::QuantizeRowsOp rows = getQuantizedRows(quantize);
    OpBuilder builder(op);
    Value q = weight.getInput();
    if (transposed)
      q = lm::TransposeOp::create(builder, q.getLoc(), q, ArrayRef<int64_t>{1, 0});
    Value packed = kernel::PackOp::create(builder, q.getLoc(), q, layout->layout, layout->width);
    Value scale = lm::ReshapeOp::create(builder, q.getLoc(), weight.getScale(), ArrayRef<SymExpr>{n});
    auto product =
        kernel::GemmS8Op::create(builder, op.getLoc(), op.getType(), rows.getResult(), rows.getScale(), packed, scale,
                                 op.getBias(), /*residual=*/Value(), layout->layout, n, k, kernel::Activation::None);
    op.getResult().replaceAllUsesWith(product.getResult());
    op.erase();
  }
}
