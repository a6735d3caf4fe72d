// Grouped-query attention: exporters repeat each key head for the query heads
// that share it (repeat_kv), and lm.attention reads the heads that there are.
#include "AttentionMatch.h"

#include "llmopt/Transforms/ViewChain.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

std::optional<SharedHeads> llmopt::findSharedHeads(Value tokenMajor, int64_t headSize) {
  SharedHeads shared{ViewChain::compose(tokenMajor), {}, 1};
  const ViewChain &chain = shared.chain;
  shared.broadcast = chain.getSource().getDefiningOp<BroadcastOp>();
  if (!shared.broadcast || chain.getResultDims().size() != 3)
    return std::nullopt;
  SmallVector<SymExpr> input = getDims(shared.broadcast.getInput()), to = getDims(shared.broadcast.getResult());
  SmallVector<SymExpr> from(to.size() - input.size(), SymExpr(1));
  llvm::append_range(from, input);
  std::optional<size_t> repeated;
  for (size_t i = 0; i < to.size(); ++i) {
    if (from[i] == to[i])
      continue;
    if (repeated || !from[i].isConstant(1))
      return std::nullopt;
    repeated = i;
  }
  if (!repeated || chain.getSourceDims()[*repeated].size() != 1)
    return std::nullopt;
  shared.atom = chain.getSourceDims()[*repeated].front();
  std::optional<int64_t> count = chain.getAtomSize(shared.atom).getConstant();
  ArrayRef<unsigned> width = chain.getResultDims()[2];
  const auto *place = llvm::find(width, shared.atom);
  if (!count || place == width.end())
    return std::nullopt;
  // Behind the repetition only the elements of a head: query head n reads key
  // head n / count.
  SymExpr behind = 1;
  for (unsigned atom : llvm::make_range(std::next(place), width.end()))
    behind *= chain.getAtomSize(atom);
  if (!behind.isConstant(headSize))
    return std::nullopt;
  shared.count = *count;
  return shared;
}

Value llmopt::buildSharedHeads(OpBuilder &builder, Location loc, const SharedHeads &shared) {
  const ViewChain &chain = shared.chain;
  SmallVector<unsigned> source;
  SmallVector<SymExpr> atomDims, resultDims;
  for (ArrayRef<unsigned> group : chain.getSourceDims())
    for (unsigned atom : group)
      if (atom != shared.atom) {
        source.push_back(atom);
        atomDims.push_back(chain.getAtomSize(atom));
      }
  SmallVector<int64_t> perm;
  for (ArrayRef<unsigned> group : chain.getResultDims()) {
    resultDims.push_back(1);
    for (unsigned atom : group)
      if (atom != shared.atom) {
        perm.push_back(llvm::find(source, atom) - source.begin());
        resultDims.back() *= chain.getAtomSize(atom);
      }
  }
  BroadcastOp broadcast = shared.broadcast;
  Value value = ReshapeOp::create(builder, loc, broadcast.getInput(), atomDims);
  value = TransposeOp::create(builder, loc, value, builder.getDenseI64ArrayAttr(perm));
  return ReshapeOp::create(builder, loc, value, resultDims);
}
