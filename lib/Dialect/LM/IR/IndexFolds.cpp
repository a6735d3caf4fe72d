// Folds of bits, scatters, sorting and recurrences: constants only, but for
// elements of a vector of sizes that are replaced.
#include "FoldSupport.h"

using namespace mlir;
using namespace llmopt::lm;

#define LM_FOLD_CONSTANT(OP)                                                                                           \
  OpFoldResult OP::fold(FoldAdaptor adaptor) { return foldConstant(*this, adaptor.getOperands()); }
LM_FOLD_CONSTANT(AcosOp)
LM_FOLD_CONSTANT(AsinOp)
LM_FOLD_CONSTANT(AtanOp)
LM_FOLD_CONSTANT(AcoshOp)
LM_FOLD_CONSTANT(AsinhOp)
LM_FOLD_CONSTANT(AtanhOp)
LM_FOLD_CONSTANT(BitwiseAndOp)
LM_FOLD_CONSTANT(BitwiseOrOp)
LM_FOLD_CONSTANT(BitwiseXorOp)
LM_FOLD_CONSTANT(BitwiseNotOp)
LM_FOLD_CONSTANT(ShiftLeftOp)
LM_FOLD_CONSTANT(ShiftRightOp)
LM_FOLD_CONSTANT(BitcastOp)
LM_FOLD_CONSTANT(ScatterNDOp)
LM_FOLD_CONSTANT(ArgSortOp)
LM_FOLD_CONSTANT(TrueIndicesOp)
LM_FOLD_CONSTANT(CumProdOp)
#undef LM_FOLD_CONSTANT

OpFoldResult ScatterElementsOp::fold(FoldAdaptor adaptor) {
  if (Attribute constant = foldConstant(*this, adaptor.getOperands()))
    return constant;
  std::optional<SmallVector<SymExpr>> values = getSymbolicValue(adaptor.getInput()),
                                      updates = getSymbolicValue(adaptor.getUpdates());
  auto indices = dyn_cast_or_null<DenseIntElementsAttr>(adaptor.getIndices());
  auto type = dyn_cast<RankedTensorType>(getType());
  if (!values || !updates || !indices || !type || type.getRank() != 1 || getKind() != ScatterKind::None ||
      indices.getNumElements() != static_cast<int64_t>(updates->size()))
    return {};
  int64_t size = values->size();
  for (auto [index, update] : llvm::zip(indices.getValues<APInt>(), *updates)) {
    int64_t at = index.getSExtValue();
    at += at < 0 ? size : 0;
    if (at < 0 || at >= size)
      return {};
    (*values)[at] = update;
  }
  return getSymbolicAttr(type, *values);
}
