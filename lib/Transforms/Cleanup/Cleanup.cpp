// The cleanup pass: our patterns together with every operation's own folds and
// canonicalisations, then common subexpressions.
#include "llmopt/Transforms/Cleanup.h"
#include "llmopt/Transforms/Passes.h"

#include "mlir/IR/Dominance.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/CSE.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace llmopt {
#define GEN_PASS_DEF_CLEANUPPASS
#include "llmopt/Transforms/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;

LogicalResult llmopt::runCleanup(Operation *root) {
  RewritePatternSet patterns(root->getContext());
  populateViewPatterns(patterns);
  populateArithPatterns(patterns);
  populateScatterPatterns(patterns);
  for (Dialect *dialect : root->getContext()->getLoadedDialects())
    dialect->getCanonicalizationPatterns(patterns);
  for (RegisteredOperationName op : root->getContext()->getRegisteredOperations())
    if (op.getDialectNamespace() == lm::LMDialect::getDialectNamespace())
      op.getCanonicalizationPatterns(patterns, root->getContext());
  if (failed(applyPatternsGreedily(root, std::move(patterns))))
    return failure();
  IRRewriter rewriter(root->getContext());
  DominanceInfo dominance(root);
  bool changed = false;
  eliminateCommonSubExpressions(rewriter, dominance, root, &changed);
  return success();
}

namespace {
struct CleanupPass : llmopt::impl::CleanupPassBase<CleanupPass> {
  void runOnOperation() override {
    if (failed(runCleanup(getOperation()))) {
      getOperation()->emitError("cleanup did not converge");
      signalPassFailure();
    }
  }
};
} // namespace
