// lm.attention -> kernel.attention.
#include "Partition.h"

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

/// The mask with a last dimension of `keys`: kernels read keys one behind the other.
static Value withWholeRows(OpBuilder &builder, Value mask, const SymExpr &keys) {
  SmallVector<SymExpr> dims = getDims(mask);
  if (dims.back() == keys)
    return mask;
  dims.back() = keys;
  return lm::BroadcastOp::create(builder, mask.getLoc(), mask, dims);
}

void plan::formAttention(func::FuncOp function, const PlanTarget &target) {
  for (auto op : llvm::make_early_inc_range(function.getOps<lm::AttentionOp>())) {
    if (!target.hasAttention(op))
      continue;
    OpBuilder builder(op);
    auto [q, qOffset] = getColumns(op.getQuery());
    auto [k, kOffset] = getColumns(op.getKey());
    auto [v, vOffset] = getColumns(op.getValue());
    int64_t headDim = *getDims(op.getQuery())[2].getConstant() / op.getNumHeads();
    int64_t valueDim = *getDims(op.getValue())[2].getConstant() / op.getKvNumHeads();
    Value mask = op.getMask();
    if (mask && op.getMaskKind() != lm::MaskKind::KeyLengths)
      mask = withWholeRows(builder, mask, getDims(op.getKey())[1]);
    auto fused = kernel::AttentionOp::create(builder, op.getLoc(), op.getType(), q, k, v, mask, op.getNumHeads(),
                                             op.getKvNumHeads(), headDim, valueDim, qOffset, kOffset, vOffset,
                                             op.getScale(), op.getMaskKind(), op.getCausal(), op.getFullyMasked());
    op.getResult().replaceAllUsesWith(fused.getResult());
    op.erase();
  }
  eraseDead(function);
}
