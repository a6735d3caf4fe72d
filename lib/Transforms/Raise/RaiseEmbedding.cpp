// Gather from the rows of a rank-2 weight.
#include "RaiseMatchers.h"

#include "llmopt/Transforms/Cleanup.h"
#include "llmopt/Transforms/FusionReport.h"
#include "llmopt/Transforms/Passes.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"

namespace llmopt {
#define GEN_PASS_DEF_RAISEEMBEDDINGPASS
#include "llmopt/Transforms/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

Candidate<EmbeddingMatch> llmopt::matchEmbedding(GatherOp gather) {
  auto type = cast<RankedTensorType>(gather.getInput().getType());
  if (!isWeightDerived(gather.getInput()) || !isa<FloatType>(type.getElementType()))
    return std::nullopt;
  if (type.getRank() != 2)
    return MatchOr<EmbeddingMatch>(Miss{llvm::formatv("the table has rank {0}, expected 2", type.getRank()), ""});
  if (gather.getAxis() != 0)
    return MatchOr<EmbeddingMatch>(Miss{llvm::formatv("it picks along axis {0}, expected 0", gather.getAxis()), ""});
  return MatchOr<EmbeddingMatch>(EmbeddingMatch{gather});
}

namespace {
struct RaiseEmbeddingPass : llmopt::impl::RaiseEmbeddingPassBase<RaiseEmbeddingPass> {
  void runOnOperation() override {
    if (failed(runCleanup(getOperation())))
      return signalPassFailure();
    SmallVector<GatherOp> gathers;
    getOperation()->walk([&](GatherOp gather) { gathers.push_back(gather); });
    IRRewriter rewriter(&getContext());
    for (GatherOp gather : gathers) {
      Candidate<EmbeddingMatch> candidate = matchEmbedding(gather);
      if (!candidate || !*candidate)
        continue;
      rewriter.setInsertionPoint(gather);
      rewriter.replaceOpWithNewOp<EmbeddingOp>(gather, gather.getType(), gather.getInput(), gather.getIndices());
    }
    emitFusionRemarks(getOperation(), FusionKind::Embedding, "lm-raise-embedding");
  }
};
} // namespace
