// Products with a weight, and the bias behind them.
//
// The reshapes that exporters put around a matmul to make it rank 2 move behind
// it (and behind the bias), where they meet their inverse and cancel.
#include "RaiseMatchers.h"

#include "llmopt/Transforms/Cleanup.h"
#include "llmopt/Transforms/FusionReport.h"
#include "llmopt/Transforms/Passes.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace llmopt {
#define GEN_PASS_DEF_RAISELINEARPASS
#include "llmopt/Transforms/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

Candidate<LinearMatch> llmopt::matchLinear(MatMulOp matmul) {
  auto type = cast<RankedTensorType>(matmul.getRhs().getType());
  if (!isWeightDerived(matmul.getRhs())) {
    if (isWeightDerived(matmul.getLhs()))
      return MatchOr<LinearMatch>(Miss{"the weight is the left factor", ""});
    return std::nullopt; // a product of two activations
  }
  if (isWeightDerived(matmul.getLhs()))
    return std::nullopt; // a recipe
  if (!isa<FloatType>(type.getElementType()))
    return MatchOr<LinearMatch>(Miss{"the weight is not floating-point", ""});
  if (type.getRank() != 2)
    return MatchOr<LinearMatch>(Miss{llvm::formatv("the weight has rank {0}, expected 2", type.getRank()), ""});
  LinearMatch match{matmul, matmul.getRhs(), false};
  // The weight itself rather than a copy of it, where it is only transposed.
  if (auto transpose = match.weight.getDefiningOp<TransposeOp>()) {
    match.weight = transpose.getInput();
    match.transposeWeight = true;
  }
  return MatchOr<LinearMatch>(match);
}

std::optional<std::pair<AddOp, Value>> llmopt::findBias(LinearOp linear) {
  if (linear.getBias() || !linear->hasOneUse())
    return std::nullopt;
  auto add = dyn_cast<AddOp>(*linear->user_begin());
  if (!add || !haveSameDims(add, linear))
    return std::nullopt;
  Value bias = add.getLhs() == linear ? add.getRhs() : add.getLhs();
  if (bias == linear || !isVector(bias, getDims(linear.getResult()).back()) || !isWeightDerived(bias))
    return std::nullopt;
  return std::make_pair(add, bias);
}

namespace {

struct RaiseMatMul : OpRewritePattern<MatMulOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(MatMulOp matmul, PatternRewriter &rewriter) const override {
    Candidate<LinearMatch> candidate = matchLinear(matmul);
    if (!candidate || !*candidate)
      return failure();
    LinearMatch &match = **candidate;
    rewriter.replaceOpWithNewOp<LinearOp>(matmul, matmul.getType(), matmul.getLhs(), match.weight, Value(),
                                          rewriter.getBoolAttr(match.transposeWeight));
    return success();
  }
};

/// A transposed weight of a linear -> the other `transpose_weight`.
struct TransposedWeight : OpRewritePattern<LinearOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(LinearOp linear, PatternRewriter &rewriter) const override {
    auto transpose = linear.getWeight().getDefiningOp<TransposeOp>();
    if (!transpose)
      return failure();
    rewriter.modifyOpInPlace(linear, [&] {
      linear.getWeightMutable().assign(transpose.getInput());
      linear.setTransposeWeight(!linear.getTransposeWeight());
    });
    return success();
  }
};

struct AbsorbBias : OpRewritePattern<LinearOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(LinearOp linear, PatternRewriter &rewriter) const override {
    auto found = findBias(linear);
    if (!found)
      return failure();
    auto [add, bias] = *found;
    rewriter.setInsertionPoint(add);
    Value vector = getVector(rewriter, bias, getDims(linear.getResult()).back());
    Location loc = rewriter.getFusedLoc({linear.getLoc(), add.getLoc()});
    auto fused = LinearOp::create(rewriter, loc, add.getType(), linear.getInput(), linear.getWeight(), vector,
                                  linear.getTransposeWeightAttr());
    rewriter.replaceOp(add, fused);
    rewriter.eraseOp(linear);
    return success();
  }
};

/// linear(reshape x) -> reshape(linear x), where the reshape leaves the last
/// dimension alone.
struct LinearOfReshape : OpRewritePattern<LinearOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(LinearOp linear, PatternRewriter &rewriter) const override {
    auto reshape = linear.getInput().getDefiningOp<ReshapeOp>();
    if (!reshape)
      return failure();
    SmallVector<SymExpr> inner = getDims(reshape.getInput()), outer = getDims(reshape.getResult());
    if (inner.empty() || outer.empty() || inner.back() != outer.back())
      return failure();
    inner.back() = getDims(linear.getResult()).back();
    Type type = getTensorType(inner, getElementTypeOrSelf(linear.getType()));
    auto moved = LinearOp::create(rewriter, linear.getLoc(), type, reshape.getInput(), linear.getWeight(),
                                  linear.getBias(), linear.getTransposeWeightAttr());
    rewriter.replaceOpWithNewOp<ReshapeOp>(linear, linear.getType(), moved);
    return success();
  }
};

/// reshape(linear) + vector -> reshape(linear + vector), last dimension kept.
struct BiasOfReshape : OpRewritePattern<AddOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(AddOp add, PatternRewriter &rewriter) const override {
    for (int side = 0; side < 2; ++side) {
      auto reshape = add->getOperand(side).getDefiningOp<ReshapeOp>();
      Value bias = add->getOperand(1 - side);
      auto linear = reshape ? reshape.getInput().getDefiningOp<LinearOp>() : LinearOp();
      if (!linear || linear.getBias() || !linear->hasOneUse() || !reshape->hasOneUse() || !haveSameDims(reshape, add))
        continue;
      SymExpr width = getDims(linear.getResult()).back();
      if (width != getDims(reshape.getResult()).back() || !isVector(bias, width) || !isWeightDerived(bias))
        continue;
      Value vector = getVector(rewriter, bias, width);
      auto sum = AddOp::create(rewriter, add.getLoc(), linear.getType(), linear, vector);
      rewriter.replaceOpWithNewOp<ReshapeOp>(add, add.getType(), sum);
      return success();
    }
    return failure();
  }
};

struct RaiseLinearPass : llmopt::impl::RaiseLinearPassBase<RaiseLinearPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<RaiseMatMul, TransposedWeight, AbsorbBias, LinearOfReshape, BiasOfReshape>(&getContext());
    populateViewPatterns(patterns);
    if (failed(runCleanup(getOperation())) || failed(applyPatternsGreedily(getOperation(), std::move(patterns))) ||
        failed(runCleanup(getOperation())))
      return signalPassFailure();
    emitFusionRemarks(getOperation(), FusionKind::Linear, "lm-raise-linear");
  }
};

} // namespace
