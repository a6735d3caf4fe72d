// Products of quantized rows with a quantized weight. Both sides must be
// quantized as the kernels do it; any other form stays as it is and runs as a
// product of dequantized values.
#include "Partition.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::plan;
using lm::getDims;

/// Sums of k products of bytes fit 32 bits.
static constexpr int64_t kMaxDepth = 131071;
/// So do sums of k products of a byte, and a difference of bytes.
static constexpr int64_t kMaxDepthWithZeroPoint = 65793;

static bool isInt8(Value value) { return getElementTypeOrSelf(value).isSignlessInteger(8); }

bool plan::isQuantizedRows(lm::QuantizeOp quantize) {
  if (quantize.getZeroPoint() || !quantize.getNarrowRange() || !isInt8(quantize.getResult()) ||
      !getElementTypeOrSelf(quantize.getInput()).isF32())
    return false;
  auto scale = quantize.getScale().getDefiningOp<lm::AbsMaxScaleOp>();
  int64_t last = int64_t(getDims(quantize.getInput()).size()) - 1;
  return scale && scale.getInput() == quantize.getInput() && scale.getAxes() == ArrayRef<int64_t>{last} &&
         scale.getQmax().isExactlyValue(127.0);
}

lm::QuantizeOp plan::matchQuantizedRows(Value value) {
  auto dequantize = value.getDefiningOp<lm::DequantizeOp>();
  if (!dequantize || dequantize.getZeroPoint())
    return {};
  auto quantize = dequantize.getInput().getDefiningOp<lm::QuantizeOp>();
  if (!quantize || quantize.getScale() != dequantize.getScale() || !isQuantizedRows(quantize))
    return {};
  return quantize;
}

kernel::QuantizeRowsOp plan::getQuantizedRows(lm::QuantizeOp quantize) {
  for (Operation *user : quantize.getInput().getUsers())
    if (auto rows = dyn_cast<kernel::QuantizeRowsOp>(user);
        rows && rows->getBlock() == quantize->getBlock() && rows.getResult().getType() == quantize.getType()) {
      if (!rows->isBeforeInBlock(quantize))
        rows->moveBefore(quantize);
      return rows;
    }
  OpBuilder builder(quantize);
  return kernel::QuantizeRowsOp::create(builder, quantize.getLoc(), quantize.getType(), quantize.getScale().getType(),
                                        quantize.getInput());
}

/// The rows of a gemm_s8, quantized as one of the forms that it knows.
static std::optional<Int8Tensor> getRows(Value input, const PlanTarget &target, int64_t k,
                                         DenseMap<Value, Value> &made) {
  if (lm::QuantizeOp quantize = matchQuantizedRows(input); quantize && k <= kMaxDepth) {
    kernel::QuantizeRowsOp rows = getQuantizedRows(quantize);
    return Int8Tensor{rows.getResult(), rows.getScale(), Value()};
  }
  lm::DequantizeOp dequantize = target.hasInt8Tensors() ? matchInt8Tensor(input) : lm::DequantizeOp();
  if (!dequantize || k > kMaxDepthWithZeroPoint)
    return std::nullopt;
  return getInt8Tensor(dequantize, made);
}

void plan::formInt8Products(func::FuncOp function, const PlanTarget &target) {
  DenseMap<Value, Value> made;
  for (auto op : llvm::make_early_inc_range(function.getOps<lm::LinearOp>())) {
    bool transposed = op.getTransposeWeight();
    lm::DequantizeOp dequantize = matchInt8Weight(op.getWeight(), transposed);
    if (!dequantize || !getElementTypeOrSelf(op.getType()).isF32())
      continue;
    auto matrix = cast<RankedTensorType>(op.getWeight().getType());
    int64_t k = matrix.getDimSize(transposed ? 1 : 0), n = matrix.getDimSize(transposed ? 0 : 1);
    std::optional<PlanTarget::PackedLayout> layout = target.getInt8Layout(n, k);
    if (!layout || !getDims(op.getInput()).back().isConstant(k))
      continue;
    std::optional<Int8Tensor> rows = getRows(op.getInput(), target, k, made);
    if (!rows)
      continue;

    OpBuilder builder(op);
    Int8Weight weight = getInt8Weight(builder, dequantize, transposed);
    Value packed = kernel::PackOp::create(builder, weight.q.getLoc(), weight.q, layout->layout, layout->width);
    Value sums =
        rows->zeroPoint ? kernel::ColumnSumsOp::create(builder, weight.q.getLoc(), weight.q).getResult() : Value();
    auto product = kernel::GemmS8Op::create(builder, op.getLoc(), op.getType(), rows->q, rows->scale, rows->zeroPoint,
                                            sums, packed, weight.scale, op.getBias(), /*residual=*/Value(),
                                            layout->layout, n, k, kernel::Activation::None);
    op.getResult().replaceAllUsesWith(product.getResult());
    op.erase();
  }
}
