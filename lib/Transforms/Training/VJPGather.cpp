// Gradients of operations that pick elements by index, and of those that put them there.
#include "VJPRules.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

Value zerosLike(const VJPContext &c, Value value) {
  return c.create<BroadcastOp>(c.scalar(0.0, getElementTypeOrSelf(value)), getDims(value));
}

/// Each slice of g is added to the one it came from: an embedding whose rows are slices
/// along `axis`.
LogicalResult gatherVJP(GatherOp gather, Value g, const VJPContext &c) {
  SmallVector<SymExpr> dims = getDims(gather.getInput()), ids = getDims(gather.getIndices()), rows;
  int64_t axis = gather.getAxis(), numIds = ids.size(), rank = dims.size();
  // [before, ids, behind] -> [ids, before, behind]
  SmallVector<int64_t> perm = llvm::to_vector(llvm::seq<int64_t>(axis, axis + numIds)), back{};
  llvm::append_range(perm, llvm::seq<int64_t>(0, axis));
  llvm::append_range(perm, llvm::seq<int64_t>(axis + numIds, numIds + rank - 1));
  for (int64_t i = 0; i < rank; ++i)
    if (i != axis)
      rows.push_back(dims[i]);
  SmallVector<SymExpr> flat = ids;
  flat.push_back(product(rows));
  Value perId = c.reshape(c.transpose(g, perm), flat);
  Type table = getTensorType({dims[axis], flat.back()}, getElementTypeOrSelf(g));
  Value sum = c.create<EmbeddingGradOp>(table, gather.getIndices(), perId);
  rows.insert(rows.begin(), dims[axis]);
  sum = c.reshape(sum, rows);
  for (int64_t i = 0; i < rank; ++i) // [axis, before, behind] -> [before, axis, behind]
    back.push_back(i < axis ? i + 1 : i == axis ? 0 : i);
  c.accumulate(gather.getInput(), c.transpose(sum, back));
  return success();
}

/// Of several updates of one element the last stays: which ones have stayed, found by
/// scattering their numbers.
template <typename ScatterOp, typename Scatter, typename Gather>
LogicalResult scatterVJP(ScatterOp scatter, Value g, const VJPContext &c, Scatter put, Gather pick) {
  Value updates = scatter.getUpdates();
  if (scatter.getKind() == ScatterKind::Add) {
    c.accumulate(scatter.getInput(), g);
    if (c.isActive(updates))
      c.accumulate(updates, pick(g));
    return success();
  }
  if (scatter.getKind() != ScatterKind::None)
    return failure();
  if (c.isActive(scatter.getInput()))
    c.accumulate(scatter.getInput(), put(g, zerosLike(c, updates)));
  if (c.isActive(updates)) {
    Type i64 = c.builder.getI64Type();
    SmallVector<SymExpr> dims = getDims(updates);
    Value numbers = c.create<IotaOp>(getTensorType({product(dims)}, i64), 0);
    numbers = c.reshape(numbers, dims);
    auto nobody = DenseElementsAttr::get(RankedTensorType::get({}, i64), c.builder.getI64IntegerAttr(-1));
    Value frame = c.create<BroadcastOp>(c.create<ConstantOp>(nobody), getDims(scatter.getInput()));
    Value stays = c.create<CompareOp>(Predicate::EQ, pick(put(frame, numbers)), numbers);
    c.accumulate(updates, c.create<WhereOp>(stays, pick(g), c.scalar(0.0, getElementTypeOrSelf(g))));
  }
  return success();
}

} // namespace

LogicalResult llmopt::applyGatherVJP(Operation *op, Value g, const VJPContext &c) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<GatherOp>([&](GatherOp gather) { return gatherVJP(gather, g, c); })
      .Case<GatherElementsOp>([&](GatherElementsOp gather) {
        Value x = gather.getInput();
        c.accumulate(x, c.create<ScatterElementsOp>(ScatterKind::Add, zerosLike(c, x), gather.getIndices(), g,
                                                    gather.getAxis()));
        return success();
      })
      .Case<GatherNDOp>([&](GatherNDOp gather) {
        if (gather.getBatchDims() != 0)
          return LogicalResult(failure());
        Value x = gather.getInput();
        c.accumulate(x, c.create<ScatterNDOp>(ScatterKind::Add, zerosLike(c, x), gather.getIndices(), g));
        return LogicalResult(success());
      })
      .Case<ScatterElementsOp>([&](ScatterElementsOp scatter) {
        auto put = [&](Value into, Value what) {
          return c.create<ScatterElementsOp>(ScatterKind::None, into, scatter.getIndices(), what, scatter.getAxis());
        };
        auto pick = [&](Value from) {
          return c.create<GatherElementsOp>(from, scatter.getIndices(), scatter.getAxis());
        };
        return scatterVJP(scatter, g, c, put, pick);
      })
      .Case<ScatterNDOp>([&](ScatterNDOp scatter) {
        auto put = [&](Value into, Value what) {
          return c.create<ScatterNDOp>(ScatterKind::None, into, scatter.getIndices(), what);
        };
        auto pick = [&](Value from) { return c.create<GatherNDOp>(from, scatter.getIndices(), uint64_t(0)); };
        return scatterVJP(scatter, g, c, put, pick);
      })
      .Default([](Operation *) { return failure(); });
}
