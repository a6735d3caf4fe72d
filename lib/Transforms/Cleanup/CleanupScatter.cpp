// Scatters that write every element in order: what torch makes of an assignment
// to a slice (`mask[:, :, :, :n] = ...`) where the slice is the whole tensor.
// Causal masks of many decoders are written so.
#include "llmopt/Transforms/Cleanup.h"
#include "llmopt/Transforms/Matching.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

/// The place of dimension `axis` of a reshape's result in its operand, where the
/// reshape only adds or removes dimensions of size 1; nullopt otherwise.
static std::optional<size_t> getAxisBeforeReshape(ReshapeOp reshape, size_t axis) {
  SmallVector<SymExpr> from = getDims(reshape.getInput()), to = getDims(reshape.getResult());
  std::optional<size_t> result;
  size_t i = 0;
  for (size_t j = 0; j < to.size(); ++j) {
    if (to[j].isConstant(1))
      continue;
    while (i < from.size() && from[i].isConstant(1))
      ++i;
    if (i == from.size() || from[i] != to[j])
      return std::nullopt;
    if (j == axis)
      result = i;
    ++i;
  }
  for (; i < from.size(); ++i)
    if (!from[i].isConstant(1))
      return std::nullopt;
  return result;
}

/// Whether each element of `value` is its index along `axis`.
static bool isIndexAlong(Value value, size_t axis) {
  if (getDims(value)[axis].isConstant(1) && getScalar(value) == 0.0)
    return true;
  while (Operation *op = value.getDefiningOp()) {
    if (auto iota = dyn_cast<IotaOp>(op))
      return static_cast<size_t>(iota.getAxis()) == axis;
    if (auto reshape = dyn_cast<ReshapeOp>(op)) {
      std::optional<size_t> before = getAxisBeforeReshape(reshape, axis);
      if (!before)
        return false;
      axis = *before;
    } else if (auto broadcast = dyn_cast<BroadcastOp>(op)) {
      SmallVector<SymExpr> from = getDims(broadcast.getInput()), to = getDims(value);
      size_t added = to.size() - from.size();
      if (axis < added || from[axis - added] != to[axis])
        return false;
      axis -= added;
    } else {
      return false;
    }
    value = op->getOperand(0);
  }
  return false;
}

namespace {

/// scatter_nd(x, every index tuple of x in order, updates) -> updates.
struct ScatterOfAll : OpRewritePattern<ScatterNDOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(ScatterNDOp op, PatternRewriter &rewriter) const override {
    SmallVector<SymExpr> dims = getDims(op.getInput()), indexDims = getDims(op.getIndices());
    if (op.getKind() != ScatterKind::None || indexDims.empty())
      return failure();
    size_t tuple = indexDims.size() - 1; // as many dimensions as a tuple has entries
    auto concat = op.getIndices().getDefiningOp<ConcatOp>();
    if (tuple == 0 || tuple > dims.size() || !indexDims.back().isConstant(tuple) ||
        !llvm::equal(ArrayRef(indexDims).drop_back(), ArrayRef(dims).take_front(tuple)))
      return failure();
    SmallVector<Value> indices{op.getIndices()};
    if (concat && concat.getAxis() == tuple)
      indices.assign(concat.getInputs().begin(), concat.getInputs().end());
    if (indices.size() != tuple)
      return failure();
    for (auto [axis, index] : llvm::enumerate(indices))
      if (!isIndexAlong(index, axis))
        return failure();
    if (op.getUpdates().getType() == op.getType())
      rewriter.replaceOp(op, op.getUpdates());
    else
      rewriter.replaceOpWithNewOp<ReshapeOp>(op, op.getType(), op.getUpdates());
    return success();
  }
};

} // namespace

void llmopt::populateScatterPatterns(RewritePatternSet &patterns) { patterns.add<ScatterOfAll>(patterns.getContext()); }
