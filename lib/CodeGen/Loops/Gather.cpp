// Gathers. Indices come from data, so they are brought into range before use.
#include "Emitter.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::loops;

/// Negative indices count from the end; what is still outside is clamped.
Index Emitter::gathered(S index, const SymExpr &size, std::set<int> roots) {
  S i = cast(index, Elem::I64), zero = b.index(0), n = b.size(size);
  if (!isUnsigned(index.elem))
    i = b.op(Opcode::Select, {b.op(Opcode::Lt, {i, zero}), b.op(Opcode::Add, {i, n}), i});
  i = b.op(Opcode::Min, {i, b.op(Opcode::IAdd, {n, b.index(-1)})});
  i = b.op(Opcode::Max, {i, zero});
  return Index::var(addVar(i, size, false, std::move(roots)));
}

std::optional<S> Emitter::emitGathers(Operation *op, ArrayRef<Index> indices) {
  auto rootsOfAll = [&](ArrayRef<Index> all) {
    std::set<int> roots;
    for (const Index &index : all)
      roots.merge(rootsOf(index));
    return roots;
  };
  auto along = [&](Value input, Value ids, int64_t axis) {
    size_t idRank = lm::getDims(ids).size();
    ArrayRef<Index> own = indices.slice(axis, idRank);
    SmallVector<Index> inner(indices.take_front(axis));
    inner.push_back(gathered(emit(ids, own), lm::getDims(input)[axis], rootsOfAll(own)));
    inner.append(indices.begin() + axis + idRank, indices.end());
    return emit(input, inner);
  };
  return llvm::TypeSwitch<Operation *, std::optional<S>>(op)
      .Case<lm::GatherOp>([&](lm::GatherOp gather) {
        return along(gather.getInput(), gather.getIndices(), gather.getAxis());
      })
      .Case<lm::EmbeddingOp>([&](lm::EmbeddingOp embedding) { return along(embedding.getTable(), embedding.getIds(), 0); })
      .Case<lm::GatherElementsOp>([&](lm::GatherElementsOp gather) {
        int64_t axis = gather.getAxis();
        SmallVector<Index> inner(indices);
        inner[axis] = gathered(emit(gather.getIndices(), indices), lm::getDims(gather.getInput())[axis],
                               rootsOfAll(indices));
        return emit(gather.getInput(), inner);
      })
      .Case<lm::GatherNDOp>([&](lm::GatherNDOp gather) {
        SmallVector<SymExpr> dims = lm::getDims(gather.getInput()), idDims = lm::getDims(gather.getIndices());
        int64_t batch = gather.getBatchDims(), tuple = *idDims.back().getConstant(), lead = idDims.size() - 1;
        SmallVector<Index> inner(indices.take_front(batch));
        for (int64_t t = 0; t < tuple; ++t) {
          SmallVector<Index> at(indices.take_front(lead));
          at.push_back(Index(t));
          inner.push_back(gathered(emit(gather.getIndices(), at), dims[batch + t], rootsOfAll(at)));
        }
        inner.append(indices.begin() + lead, indices.end());
        return emit(gather.getInput(), inner);
      })
      .Default([](Operation *) { return std::nullopt; });
}
