// Patterns over arithmetic. Each keeps every result bit (NaN payloads aside).
#include "llmopt/Transforms/Cleanup.h"
#include "llmopt/Transforms/Matching.h"

#include "mlir/IR/Matchers.h"
#include "mlir/IR/TypeUtilities.h"

#include <cmath>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// x^2 -> x x, x^1 -> x. Other powers stay: sqrt and pow differ at -0 and -inf.
struct PowOfConstant : OpRewritePattern<PowOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(PowOp op, PatternRewriter &rewriter) const override {
    std::optional<double> exponent = getScalar(op.getRhs(), op.getLhs());
    if (exponent == 1 && op.getLhs().getType() == op.getType()) {
      rewriter.replaceOp(op, op.getLhs());
      return success();
    }
    if (exponent != 2)
      return failure();
    rewriter.replaceOpWithNewOp<MulOp>(op, op.getType(), op.getLhs(), op.getLhs());
    return success();
  }
};

/// x / 2^n -> x 2^-n, while 2^-n is a normal number.
struct DivByPowerOfTwo : OpRewritePattern<DivOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(DivOp op, PatternRewriter &rewriter) const override {
    Type elementType = getElementTypeOrSelf(op.getType());
    std::optional<double> divisor = getScalar(op.getRhs(), op.getLhs());
    if (!divisor || !isa<FloatType>(elementType) || !std::isfinite(*divisor))
      return failure();
    int exponent = 0;
    if (std::fabs(std::frexp(*divisor, &exponent)) != 0.5 || std::abs(exponent) > 13) // f16 is normal from 2^-14
      return failure();
    Value factor = createScalar(rewriter, op.getLoc(), elementType, 1 / *divisor);
    rewriter.replaceOpWithNewOp<MulOp>(op, op.getType(), op.getLhs(), factor);
    return success();
  }
};

/// x 1 -> x and x / 1 -> x.
template <typename BinaryOp> struct ByOne : OpRewritePattern<BinaryOp> {
  using OpRewritePattern<BinaryOp>::OpRewritePattern;

  LogicalResult matchAndRewrite(BinaryOp op, PatternRewriter &rewriter) const override {
    if (getScalar(op.getRhs(), op.getLhs()) != 1 || op.getLhs().getType() != op.getType())
      return failure();
    rewriter.replaceOp(op, op.getLhs());
    return success();
  }
};

/// Constants and scalars of weights move to the right. Beside a constant a scalar
/// stays where it is: commutative operations move constants to the right, always.
template <typename BinaryOp> struct ScalarToTheRight : OpRewritePattern<BinaryOp> {
  using OpRewritePattern<BinaryOp>::OpRewritePattern;

  LogicalResult matchAndRewrite(BinaryOp op, PatternRewriter &rewriter) const override {
    if (!getScalar(op.getLhs(), op.getRhs()) || getScalar(op.getRhs()) || matchPattern(op.getRhs(), m_Constant()))
      return failure();
    rewriter.modifyOpInPlace(op, [&] {
      Value lhs = op.getLhs();
      op->setOperand(0, op.getRhs());
      op->setOperand(1, lhs);
    });
    return success();
  }
};

/// view(x c) -> view(x) c and view(x / c) -> view(x) / c, for a scalar c and an
/// x c that nobody else reads.
template <typename ScaleOp, typename ViewOp> struct ScaleBehindView : OpRewritePattern<ViewOp> {
  using OpRewritePattern<ViewOp>::OpRewritePattern;

  LogicalResult matchAndRewrite(ViewOp op, PatternRewriter &rewriter) const override {
    auto scale = op.getInput().template getDefiningOp<ScaleOp>();
    if (!scale || !scale->hasOneUse() || !isa<FloatType>(getElementTypeOrSelf(op.getType())))
      return failure();
    std::optional<double> factor = getScalar(scale.getRhs(), scale.getLhs());
    if (!factor)
      return failure();
    Operation *view = rewriter.clone(*op);
    view->setOperand(0, scale.getLhs());
    Value constant = createScalar(rewriter, scale.getLoc(), getElementTypeOrSelf(op.getType()), *factor);
    auto result = ScaleOp::create(rewriter, scale.getLoc(), op.getType(), view->getResult(0), constant);
    rewriter.replaceOp(op, result);
    return success();
  }
};

/// f(x, broadcast y) -> f(x, y) where f broadcasts y just as far by itself.
struct BroadcastIntoElementwise : RewritePattern {
  BroadcastIntoElementwise(MLIRContext *context) : RewritePattern(MatchAnyOpTypeTag(), 1, context) {}

  LogicalResult matchAndRewrite(Operation *op, PatternRewriter &rewriter) const override {
    if (!isa<AddOp, SubOp, MulOp, DivOp, MinOp, MaxOp, PowOp, AndOp, OrOp, XorOp, CompareOp, WhereOp>(op))
      return failure();
    SmallVector<SymExpr> wanted = getDims(op->getResult(0));
    for (OpOperand &operand : op->getOpOperands()) {
      auto broadcast = operand.get().getDefiningOp<BroadcastOp>();
      if (!broadcast)
        continue;
      FailureOr<SmallVector<SymExpr>> dims = getDims(broadcast.getInput());
      for (OpOperand &other : op->getOpOperands())
        if (&other != &operand && succeeded(dims))
          dims = broadcastDims(*dims, getDims(other.get()));
      if (failed(dims) || !llvm::equal(*dims, wanted))
        continue;
      rewriter.modifyOpInPlace(op, [&] { operand.set(broadcast.getInput()); });
      return success();
    }
    return failure();
  }
};

/// where(not c, a, b) -> where(c, b, a).
struct WhereOfNot : OpRewritePattern<WhereOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(WhereOp op, PatternRewriter &rewriter) const override {
    auto negated = op.getCondition().getDefiningOp<NotOp>();
    if (!negated)
      return failure();
    rewriter.replaceOpWithNewOp<WhereOp>(op, op.getType(), negated.getInput(), op.getRhs(), op.getLhs());
    return success();
  }
};

/// not(not c) -> c.
struct NotOfNot : OpRewritePattern<NotOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(NotOp op, PatternRewriter &rewriter) const override {
    auto negated = op.getInput().getDefiningOp<NotOp>();
    if (!negated || negated.getInput().getType() != op.getType())
      return failure();
    rewriter.replaceOp(op, negated.getInput());
    return success();
  }
};

} // namespace

void llmopt::populateArithPatterns(RewritePatternSet &patterns) {
  patterns
      .add<PowOfConstant, DivByPowerOfTwo, ByOne<MulOp>, ByOne<DivOp>, ScalarToTheRight<AddOp>, ScalarToTheRight<MulOp>,
           ScaleBehindView<MulOp, ReshapeOp>, ScaleBehindView<MulOp, TransposeOp>, ScaleBehindView<DivOp, ReshapeOp>,
           ScaleBehindView<DivOp, TransposeOp>, BroadcastIntoElementwise, WhereOfNot, NotOfNot>(patterns.getContext());
}
