// Rewrites what AttentionMatch.cpp finds into one lm.attention.
//
// Operands become token-major by the reshape and transpose that undo how heads
// were split; cleanup then cancels the two.
#include "AttentionMatch.h"

#include "llmopt/Transforms/Cleanup.h"
#include "llmopt/Transforms/FusionReport.h"
#include "llmopt/Transforms/Passes.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"

namespace llmopt {
#define GEN_PASS_DEF_RAISEATTENTIONPASS
#include "llmopt/Transforms/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

struct AttentionBuilder {
  IRRewriter &rewriter;
  AttentionMatch &match;
  Location loc;

  Value reshape(Value value, ArrayRef<SymExpr> dims) {
    Type type = getTensorType(dims, getElementTypeOrSelf(value.getType()));
    return value.getType() == type ? value : ReshapeOp::create(rewriter, loc, type, value).getResult();
  }

  /// `value` as dims, then permuted, then with the last two dimensions merged.
  Value toTokenMajor(Value value, ArrayRef<SymExpr> dims, ArrayRef<int64_t> perm) {
    value = reshape(value, dims);
    value = TransposeOp::create(rewriter, loc, value, rewriter.getDenseI64ArrayAttr(perm));
    SmallVector<SymExpr> moved = getDims(value);
    return reshape(value, {moved[0], moved[1], moved[2] * moved[3]});
  }

  void build() {
    MLIRContext *context = rewriter.getContext();
    SymExpr heads = match.numHeads, size = match.headSize, valueSize = match.valueSize;
    const SymExpr &batch = match.batch, &queries = match.queryLength, &keys = match.keyLength;
    Value query = toTokenMajor(match.query, {batch, heads, queries, size}, {0, 2, 1, 3});
    Value key = toTokenMajor(match.key, {batch, heads, size, keys}, {0, 3, 1, 2});
    Value value = toTokenMajor(match.value, {batch, heads, keys, valueSize}, {0, 2, 1, 3});
    int64_t kvHeads = match.numHeads;
    std::optional<SharedHeads> sharedKeys = findSharedHeads(key, match.headSize),
                               sharedValues = findSharedHeads(value, match.valueSize);
    if (sharedKeys && sharedValues && sharedKeys->count == sharedValues->count) {
      kvHeads /= sharedKeys->count;
      key = buildSharedHeads(rewriter, loc, *sharedKeys);
      value = buildSharedHeads(rewriter, loc, *sharedValues);
    }
    Value mask = buildMask(rewriter, loc, match);
    Type type = getTensorType({batch, queries, heads * valueSize}, getElementTypeOrSelf(value.getType()));
    Value result =
        AttentionOp::create(rewriter, loc, type, query, key, value, mask, rewriter.getI64IntegerAttr(match.numHeads),
                            rewriter.getI64IntegerAttr(kvHeads), rewriter.getF64FloatAttr(match.scale),
                            MaskKindAttr::get(context, match.maskKind), rewriter.getBoolAttr(match.causal),
                            FullyMaskedAttr::get(context, match.fullyMasked));
    result = reshape(result, {batch, queries, heads, valueSize});
    result = TransposeOp::create(rewriter, loc, result, rewriter.getDenseI64ArrayAttr({0, 2, 1, 3}));
    if (result.getType() != match.context.getType())
      result = ReshapeOp::create(rewriter, loc, match.context.getType(), result);
    rewriter.replaceOp(match.context, result);
  }
};

struct RaiseAttentionPass : llmopt::impl::RaiseAttentionPassBase<RaiseAttentionPass> {
  void runOnOperation() override {
    if (failed(runCleanup(getOperation())))
      return signalPassFailure();
    SmallVector<SoftmaxOp> softmaxes;
    getOperation()->walk([&](SoftmaxOp softmax) { softmaxes.push_back(softmax); });
    IRRewriter rewriter(&getContext());
    for (SoftmaxOp softmax : softmaxes) {
      Candidate<AttentionMatch> candidate = matchAttention(softmax);
      if (!candidate || !*candidate)
        continue;
      AttentionMatch &match = **candidate;
      SmallVector<Location> locations{softmax.getLoc()};
      llvm::append_range(locations, match.locations);
      rewriter.setInsertionPoint(match.context);
      AttentionBuilder{rewriter, match, rewriter.getFusedLoc(locations)}.build();
    }
    if (failed(runCleanup(getOperation())))
      return signalPassFailure();
    emitFusionRemarks(getOperation(), FusionKind::Attention, "lm-raise-attention");
  }
};

} // namespace
