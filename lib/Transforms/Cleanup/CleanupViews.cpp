// Patterns over operations that only move elements. Two rules give an order:
// views (reshape, transpose) compose, and slices come before views.
#include "llmopt/Transforms/Cleanup.h"
#include "llmopt/Transforms/ViewChain.h"

#include "mlir/IR/Matchers.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// A chain of views -> the shortest chain that does the same.
template <typename ViewOp> struct ComposeViews : OpRewritePattern<ViewOp> {
  using OpRewritePattern<ViewOp>::OpRewritePattern;

  LogicalResult matchAndRewrite(ViewOp op, PatternRewriter &rewriter) const override {
    ViewChain chain = ViewChain::compose(op.getResult());
    if (chain.getEmittedLength() >= chain.getLength())
      return failure();
    rewriter.replaceOp(op, chain.emit(rewriter, op.getLoc()));
    return success();
  }
};

/// A transpose that moves only dimensions of size 1 -> reshape.
struct TransposeOfOnes : OpRewritePattern<TransposeOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(TransposeOp op, PatternRewriter &rewriter) const override {
    SmallVector<SymExpr> dims = getDims(op.getInput());
    int64_t last = -1;
    for (int64_t from : op.getPerm()) {
      if (dims[from].isConstant(1))
        continue;
      if (dims[from].isUnknown() || from < last)
        return failure();
      last = from;
    }
    rewriter.replaceOpWithNewOp<ReshapeOp>(op, op.getType(), op.getInput());
    return success();
  }
};

/// Picking one index along an axis -> slice and reshape.
struct GatherOfOne : OpRewritePattern<GatherOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(GatherOp op, PatternRewriter &rewriter) const override {
    auto indicesType = cast<RankedTensorType>(op.getIndices().getType());
    std::optional<SmallVector<SymExpr>> index = getSymbolicValue(op.getIndices());
    SmallVector<SymExpr> dims = getDims(op.getInput());
    int64_t axis = op.getAxis();
    if (!index || index->size() != 1 || !indicesType.hasStaticShape())
      return failure();
    std::optional<int64_t> start = index->front().getConstant();
    if (!start || (*start < 0 && dims[axis].isUnknown()))
      return failure();
    std::optional<int64_t> size = dims[axis].getConstant();
    if (size && (*start < -*size || *start >= *size))
      return failure();
    SmallVector<SymExpr> starts(dims.size(), SymExpr(0)), sizes = dims;
    starts[axis] = *start < 0 ? dims[axis] + SymExpr(*start) : SymExpr(*start);
    sizes[axis] = 1;
    Value slice = SliceOp::create(rewriter, op.getLoc(), op.getInput(), starts, sizes);
    if (slice.getType() != op.getType())
      slice = ReshapeOp::create(rewriter, op.getLoc(), op.getType(), slice);
    rewriter.replaceOp(op, slice);
    return success();
  }
};

/// slice(transpose x) -> transpose(slice x).
struct SliceOfTranspose : OpRewritePattern<SliceOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(SliceOp op, PatternRewriter &rewriter) const override {
    auto transpose = op.getInput().getDefiningOp<TransposeOp>();
    if (!transpose)
      return failure();
    size_t rank = transpose.getPerm().size();
    SmallVector<SymExpr> starts = getExprs(op.getStarts()), sizes = getDims(op.getResult());
    SmallVector<SymExpr> newStarts(rank), newSizes(rank);
    SmallVector<int64_t> newSteps(rank);
    for (auto [i, from] : llvm::enumerate(transpose.getPerm())) {
      newStarts[from] = starts[i];
      newSizes[from] = sizes[i];
      newSteps[from] = op.getSteps()[i];
    }
    Value slice = SliceOp::create(rewriter, op.getLoc(), transpose.getInput(), newStarts, newSizes, newSteps);
    rewriter.replaceOpWithNewOp<TransposeOp>(op, op.getType(), slice, transpose.getPermAttr());
    return success();
  }
};

/// slice(reshape x) along one dimension that is the outermost factor of one of
/// x's dimensions -> reshape(slice x). Splitting a packed projection into query,
/// key and value is the case that matters.
struct SliceOfReshape : OpRewritePattern<SliceOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(SliceOp op, PatternRewriter &rewriter) const override {
    auto reshape = op.getInput().getDefiningOp<ReshapeOp>();
    if (!reshape)
      return failure();
    SmallVector<SymExpr> dims = getDims(reshape.getResult()), inner = getDims(reshape.getInput());
    SmallVector<SymExpr> starts = getExprs(op.getStarts()), sizes = getDims(op.getResult());
    std::optional<size_t> axis;
    for (size_t i = 0; i < dims.size(); ++i) {
      if (starts[i].isConstant(0) && sizes[i] == dims[i] && op.getSteps()[i] == 1)
        continue;
      if (axis || op.getSteps()[i] != 1)
        return failure();
      axis = i;
    }
    if (!axis)
      return failure();
    // The dimension of x that starts where `axis` starts: as many elements before.
    SymExpr before = product(ArrayRef(dims).take_front(*axis)), innerBefore = 1;
    for (auto [i, dim] : llvm::enumerate(inner)) {
      std::optional<SymExpr> factor = SymExpr::divideExactly(dim, dims[*axis]);
      if (innerBefore == before && !dim.isConstant(1) && factor) {
        SmallVector<SymExpr> newStarts(inner.size(), SymExpr(0)), newSizes = inner;
        newStarts[i] = starts[*axis] * *factor;
        newSizes[i] = sizes[*axis] * *factor;
        Value slice = SliceOp::create(rewriter, op.getLoc(), reshape.getInput(), newStarts, newSizes);
        rewriter.replaceOpWithNewOp<ReshapeOp>(op, op.getType(), slice);
        return success();
      }
      innerBefore *= dim;
    }
    return failure();
  }
};

} // namespace

void llmopt::populateViewPatterns(RewritePatternSet &patterns) {
  patterns.add<ComposeViews<ReshapeOp>, ComposeViews<TransposeOp>, TransposeOfOnes, GatherOfOne, SliceOfTranspose,
               SliceOfReshape>(patterns.getContext());
}
