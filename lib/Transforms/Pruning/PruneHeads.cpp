// Attention heads by the size of their output projection (Michel et al. 2019
// rank by gradients; this is the data-free variant).
#include "llmopt/Dialect/LM/IR/WeightStore.h"
#include "llmopt/Transforms/Pruning/Passes.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/SmallBitVector.h"

#include <numeric>

namespace llmopt {
#define GEN_PASS_DEF_PRUNEHEADSPASS
#include "llmopt/Transforms/Pruning/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// Slices `value` along `axis` into the blocks of `width` named by `blocks`
/// (ascending), put together again; neighbours stay one slice.
Value keepBlocks(OpBuilder &builder, Location loc, Value value, int64_t axis, int64_t width, ArrayRef<int64_t> blocks) {
  SmallVector<Value> parts;
  for (size_t i = 0; i < blocks.size();) {
    size_t end = i + 1;
    while (end < blocks.size() && blocks[end] == blocks[end - 1] + 1)
      ++end;
    SmallVector<SymExpr> sizes = getDims(value), starts(sizes.size(), SymExpr(0));
    starts[axis] = blocks[i] * width;
    sizes[axis] = static_cast<int64_t>(end - i) * width;
    parts.push_back(SliceOp::create(builder, loc, value, starts, sizes));
    i = end;
  }
  return parts.size() == 1 ? parts.front()
                           : ConcatOp::create(builder, loc, parts, builder.getI64IntegerAttr(axis)).getResult();
}

/// The squared Frobenius norm of every head's block of rows of an output
/// projection [heads * width, N] (or its transpose).
FailureOr<SmallVector<double>> headNorms(LinearOp output, int64_t heads) {
  auto weight = output.getWeight().getDefiningOp<WeightOp>();
  auto type = cast<RankedTensorType>(output.getWeight().getType());
  if (!weight || !type.getElementType().isF32())
    return failure();
  llvm::Expected<ArrayRef<char>> bytes = WeightStore::get(output.getContext()).getBytes(weight);
  if (!bytes) {
    weight.emitError() << llvm::toString(bytes.takeError());
    return failure();
  }
  bool transposed = output.getTransposeWeight();
  int64_t inputs = type.getDimSize(transposed ? 1 : 0), outputs = type.getDimSize(transposed ? 0 : 1);
  int64_t width = inputs / heads;
  SmallVector<double> norms(heads, 0.0);
  for (int64_t row = 0; row < inputs; ++row)
    for (int64_t column = 0; column < outputs; ++column) {
      float value;
      int64_t index = transposed ? column * inputs + row : row * outputs + column;
      std::memcpy(&value, bytes->data() + index * sizeof(float), sizeof(float));
      norms[row / width] += static_cast<double>(value) * value;
    }
  WeightStore::get(output.getContext()).release(weight);
  return norms;
}

struct PruneHeadsPass : llmopt::impl::PruneHeadsPassBase<PruneHeadsPass> {
  using llmopt::impl::PruneHeadsPassBase<PruneHeadsPass>::PruneHeadsPassBase;

  void runOnOperation() override {
    SmallVector<AttentionOp> sites;
    getOperation().walk([&](AttentionOp attention) { sites.push_back(attention); });
    if (sites.empty()) {
      getOperation().emitError("expected attention to prune, but the model has none that was raised");
      return signalPassFailure();
    }
    for (AttentionOp attention : sites)
      if (failed(prune(attention)))
        return signalPassFailure();
  }

  LogicalResult prune(AttentionOp attention) {
    int64_t heads = attention.getNumHeads();
    if (keep < 1 || keep > heads)
      return attention.emitError() << "expected to keep 1 to " << heads << " heads, but got " << keep.getValue();
    if (keep == heads)
      return success();
    auto query = attention.getQuery().getDefiningOp<LinearOp>(), key = attention.getKey().getDefiningOp<LinearOp>(),
         value = attention.getValue().getDefiningOp<LinearOp>();
    auto output = attention.getResult().hasOneUse()
                      ? dyn_cast<LinearOp>(*attention.getResult().user_begin())
                      : LinearOp();
    if (!query || !key || !value || !output || attention.getKvNumHeads() != attention.getNumHeads())
      return attention.emitError("cannot prune heads: expected query, key and value from linear layers, one key head "
                                 "per query head, and a linear output projection");
    if (auto mask = attention.getMask())
      if (attention.getMaskKind() != MaskKind::KeyLengths && !getDims(mask)[1].isConstant(1))
        return attention.emitError("cannot prune heads: the attention mask differs by head");
    FailureOr<SmallVector<double>> norms = headNorms(output, heads);
    if (failed(norms))
      return attention.emitError("cannot prune heads: expected an f32 weight as output projection");

    SmallVector<int64_t> order(heads);
    std::iota(order.begin(), order.end(), 0);
    llvm::sort(order, [&](int64_t a, int64_t b) {
      return (*norms)[a] != (*norms)[b] ? (*norms)[a] > (*norms)[b] : a < b;
    });
    order.resize(keep);
    llvm::sort(order);

    OpBuilder builder(attention);
    SmallVector<Value> narrowed;
    for (LinearOp projection : {query, key, value})
      narrowed.push_back(narrowOutputs(builder, projection, heads, order));
    auto pruned = AttentionOp::create(
        builder, attention.getLoc(), narrowed[0], narrowed[1], narrowed[2], attention.getMask(),
        builder.getI64IntegerAttr(keep), builder.getI64IntegerAttr(keep), attention.getScaleAttr(),
        attention.getMaskKindAttr(), attention.getCausalAttr(), attention.getFullyMaskedAttr());
    pruned->setAttr("lm.kept_heads", builder.getDenseI64ArrayAttr(order));

    int64_t inputAxis = output.getTransposeWeight() ? 1 : 0;
    int64_t width = cast<RankedTensorType>(output.getWeight().getType()).getDimSize(inputAxis) / heads;
    Value weight = keepBlocks(builder, output.getLoc(), output.getWeight(), inputAxis, width, order);
    output.getInputMutable().set(pruned.getResult());
    output.getWeightMutable().set(weight);
    attention.erase();
    for (LinearOp projection : {query, key, value})
      if (projection->use_empty())
        projection.erase();
    return success();
  }

  /// The projection with only the columns of `blocks`.
  static Value narrowOutputs(OpBuilder &builder, LinearOp projection, int64_t heads, ArrayRef<int64_t> blocks) {
    Location loc = projection.getLoc();
    int64_t axis = projection.getTransposeWeight() ? 0 : 1;
    int64_t width = cast<RankedTensorType>(projection.getWeight().getType()).getDimSize(axis) / heads;
    Value weight = keepBlocks(builder, loc, projection.getWeight(), axis, width, blocks);
    Value bias = projection.getBias();
    if (bias)
      bias = keepBlocks(builder, loc, bias, 0, width, blocks);
    return LinearOp::create(builder, loc, projection.getInput(), weight, bias, projection.getTransposeWeightAttr());
  }
};

} // namespace
