// lm.attention -> kernel.attention.
#include "Partition.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::plan;
using lm::getDims;
using lm::SymExpr;

/// Where `value` is columns of a wider tensor: that tensor and the first column.
static std::pair<Value, int64_t> getColumns(Value value) {
  auto slice = value.getDefiningOp<lm::SliceOp>();
  if (!slice)
    return {value, 0};
  SmallVector<SymExpr> in = getDims(slice.getInput()), out = getDims(value);
  SmallVector<SymExpr> starts = lm::getExprs(slice.getStarts());
  for (size_t i = 0; i < in.size(); ++i) {
    bool last = i + 1 == in.size();
    if (slice.getSteps()[i] != 1 || !starts[i].getConstant() ||
        (!last && (!starts[i].isConstant(0) || in[i] != out[i])))
      return {value, 0};
  }
  return {slice.getInput(), *starts.back().getConstant()};
}

namespace {
/// Undoes broadcasts behind a mask: kernels read a mask of [B, 1, 1, S] as it is,
/// and it is a fraction of the memory. What is built once serves every layer.
class MaskNarrower {
public:
  /// A value that broadcasts to `value`, or `value` itself.
  Value narrow(Value value);

private:
  DenseMap<Value, Value> narrowed;
};
} // namespace

Value MaskNarrower::narrow(Value value) {
  auto [it, isNew] = narrowed.try_emplace(value, value);
  if (!isNew)
    return it->second;
  Operation *op = value.getDefiningOp();
  Value result = value;
  if (auto broadcast = dyn_cast_or_null<lm::BroadcastOp>(op)) {
    // A scalar has nothing to read: the size of the result is all there is to it.
    if (getDims(broadcast.getInput()).size() == getDims(value).size())
      result = narrow(broadcast.getInput());
  } else if (op && isElementwise(op) && isa<lm::LMDialect>(op->getDialect())) {
    SmallVector<Value> operands;
    SmallVector<SymExpr> dims;
    bool changed = false, valid = true;
    for (Value operand : op->getOperands()) {
      operands.push_back(narrow(operand));
      changed |= operands.back() != operand;
      FailureOr<SmallVector<SymExpr>> both = lm::broadcastDims(dims, getDims(operands.back()));
      valid &= succeeded(both);
      if (valid)
        dims = *both;
    }
    if (changed && valid && dims.size() == getDims(value).size()) {
      OpBuilder builder(op);
      Operation *clone = builder.clone(*op);
      clone->setOperands(operands);
      clone->getResult(0).setType(lm::getTensorType(dims, getElementTypeOrSelf(value)));
      result = clone->getResult(0);
    }
  }
  return narrowed[value] = result;
}

/// The mask with a last dimension of `keys`: kernels read keys one behind the other.
static Value withWholeRows(OpBuilder &builder, Value mask, const SymExpr &keys) {
  SmallVector<SymExpr> dims = getDims(mask);
  if (dims.back() == keys)
    return mask;
  dims.back() = keys;
  return lm::BroadcastOp::create(builder, mask.getLoc(), mask, dims);
}

namespace {
/// Rows of a cache whose integers and scales are kept apart.
struct QuantizedRows {
  Value q, scale; ///< [B, T, W] i8 and [B, T, heads]; null where the rows are floats
};
} // namespace

/// The rows behind dequantize(cache of integers, cache of scales), with one scale
/// per token and head.
static QuantizedRows matchQuantizedCache(Value value, int64_t heads) {
  auto strip = [](Value v) {
    while (auto reshape = v.getDefiningOp<lm::ReshapeOp>())
      v = reshape.getInput();
    return v;
  };
  auto dequantize = strip(value).getDefiningOp<lm::DequantizeOp>();
  if (!dequantize || dequantize.getZeroPoint())
    return {};
  auto q = strip(dequantize.getInput()).getDefiningOp<lm::KVAppendOp>();
  auto scale = strip(dequantize.getScale()).getDefiningOp<lm::KVAppendOp>();
  SmallVector<SymExpr> dims = getDims(dequantize.getInput()), scaleDims = getDims(dequantize.getScale());
  if (!q || !scale || dims.size() != 4 || scaleDims.size() != 4 || !dims[2].isConstant(heads) ||
      !scaleDims[2].isConstant(heads) || !scaleDims[3].isConstant(1) || !getDims(scale)[2].isConstant(heads))
    return {};
  return {q, scale};
}

/// Rows that are quantized for a cache -> kernel.quantize_rows.
static void formQuantizedAppend(lm::KVAppendOp append) {
  Value input = append.getInput();
  while (auto reshape = input.getDefiningOp<lm::ReshapeOp>())
    input = reshape.getInput();
  auto quantize = input.getDefiningOp<lm::QuantizeOp>();
  if (!quantize || !isQuantizedRows(quantize))
    return;
  kernel::QuantizeRowsOp rows = getQuantizedRows(quantize);
  Value scale = quantize.getScale();
  quantize.getResult().replaceAllUsesWith(rows.getResult());
  scale.replaceUsesWithIf(rows.getScale(), [&](OpOperand &use) {
    return use.getOwner() != rows && use.getOwner()->getBlock() == rows->getBlock() &&
           rows->isBeforeInBlock(use.getOwner());
  });
}

void plan::formAttention(func::FuncOp function, const PlanTarget &target) {
  MaskNarrower masks;
  for (auto op : llvm::make_early_inc_range(function.getOps<lm::AttentionOp>())) {
    if (!target.hasAttention(op))
      continue;
    OpBuilder builder(op);
    auto [q, qOffset] = getColumns(op.getQuery());
    auto [k, kOffset] = getColumns(op.getKey());
    auto [v, vOffset] = getColumns(op.getValue());
    QuantizedRows keys = matchQuantizedCache(op.getKey(), op.getKvNumHeads());
    QuantizedRows values = matchQuantizedCache(op.getValue(), op.getKvNumHeads());
    bool quantized = keys.q && values.q;
    if (quantized) {
      k = keys.q;
      v = values.q;
      kOffset = vOffset = 0;
    }
    int64_t headDim = *getDims(op.getQuery())[2].getConstant() / op.getNumHeads();
    int64_t valueDim = *getDims(op.getValue())[2].getConstant() / op.getKvNumHeads();
    Value mask = op.getMask();
    if (mask && op.getMaskKind() != lm::MaskKind::KeyLengths)
      mask = withWholeRows(builder, masks.narrow(mask), getDims(op.getKey())[1]);
    auto fused = kernel::AttentionOp::create(
        builder, op.getLoc(), op.getType(), q, k, v, mask, quantized ? keys.scale : Value(),
        quantized ? values.scale : Value(), op.getNumHeads(), op.getKvNumHeads(), headDim, valueDim, qOffset, kOffset,
        vOffset, op.getScale(), op.getMaskKind(), op.getCausal(), op.getFullyMasked());
    op.getResult().replaceAllUsesWith(fused.getResult());
    op.erase();
  }
  for (auto op : llvm::make_early_inc_range(function.getOps<lm::KVAppendOp>())) {
    if (getElementTypeOrSelf(op.getInput()).isSignlessInteger(8))
      formQuantizedAppend(op);
    OpBuilder builder(op);
    auto append = kernel::KVAppendOp::create(builder, op.getLoc(), op.getType(), op.getCache(), op.getInput(),
                                             op.getPast());
    op.getResult().replaceAllUsesWith(append.getResult());
    op.erase();
  }
  eraseDead(function);
}
