// Folds of operations that move elements. Chains of the same operation become
// one, in place, so that they also disappear where operations are built by
// createOrFold.
#include "FoldSupport.h"

using namespace mlir;
using namespace llmopt::lm;

/// Constants by the evaluator, sizes by moving their expressions.
static Attribute foldMovement(Operation *op, ArrayRef<Attribute> operands, unsigned numData) {
  if (Attribute value = foldConstant(op, operands))
    return value;
  return foldSymbolicMovement(op, operands, numData);
}

OpFoldResult ConstantOp::fold(FoldAdaptor) { return getValue(); }

OpFoldResult ShapeOp::fold(FoldAdaptor) {
  SmallVector<SymExpr> dims = getDims(getInput());
  if (llvm::any_of(dims, [](const SymExpr &dim) { return dim.isUnknown(); }))
    return {};
  return getSymbolicAttr(cast<RankedTensorType>(getType()), dims);
}

OpFoldResult ReshapeOp::fold(FoldAdaptor adaptor) {
  // Equal types are equal shapes only where every dimension is known.
  bool known = llvm::none_of(getDims(getType()), [](const SymExpr &dim) { return dim.isUnknown(); });
  if (known && getInput().getType() == getType())
    return getInput();
  if (Attribute value = foldMovement(*this, adaptor.getOperands(), 1))
    return value;
  auto inner = getInput().getDefiningOp<ReshapeOp>();
  if (!inner)
    return {};
  getInputMutable().assign(inner.getInput());
  return getResult();
}

OpFoldResult BroadcastOp::fold(FoldAdaptor adaptor) {
  bool known = llvm::none_of(getDims(getType()), [](const SymExpr &dim) { return dim.isUnknown(); });
  if (known && getInput().getType() == getType())
    return getInput();
  if (Attribute value = foldMovement(*this, adaptor.getOperands(), 1))
    return value;
  auto inner = getInput().getDefiningOp<BroadcastOp>();
  if (!inner)
    return {};
  getInputMutable().assign(inner.getInput());
  return getResult();
}

OpFoldResult TransposeOp::fold(FoldAdaptor adaptor) {
  bool identity = true;
  for (auto [i, p] : llvm::enumerate(getPerm()))
    identity &= static_cast<int64_t>(i) == p;
  if (identity && getInput().getType() == getType())
    return getInput();
  if (Attribute value = foldMovement(*this, adaptor.getOperands(), 1))
    return value;
  auto inner = getInput().getDefiningOp<TransposeOp>();
  if (!inner)
    return {};
  SmallVector<int64_t> perm;
  for (int64_t p : getPerm())
    perm.push_back(inner.getPerm()[p]);
  getInputMutable().assign(inner.getInput());
  setPerm(perm);
  return getResult();
}

OpFoldResult ConcatOp::fold(FoldAdaptor adaptor) {
  if (getInputs().size() == 1 && getInputs().front().getType() == getType())
    return getInputs().front();
  return foldMovement(*this, adaptor.getOperands(), getNumOperands());
}

OpFoldResult SliceOp::fold(FoldAdaptor adaptor) {
  SmallVector<SymExpr> starts = getExprs(getStarts()), dims = getDims(getInput()), sizes = getDims(getType());
  bool whole = true, unit = true;
  for (size_t i = 0; i < starts.size(); ++i) {
    whole &= starts[i].isConstant(0) && getSteps()[i] == 1 && dims[i] == sizes[i];
    unit &= getSteps()[i] == 1;
  }
  if (whole && getInput().getType() == getType())
    return getInput();
  if (Attribute value = foldMovement(*this, adaptor.getOperands(), 1))
    return value;
  auto inner = getInput().getDefiningOp<SliceOp>();
  if (!inner || !unit || llvm::any_of(inner.getSteps(), [](int64_t step) { return step != 1; }))
    return {};
  SmallVector<SymExpr> sums;
  for (auto [a, b] : llvm::zip(starts, getExprs(inner.getStarts()))) {
    sums.push_back(a + b);
    if (sums.back().isUnknown())
      return {};
  }
  getInputMutable().assign(inner.getInput());
  setStartsAttr(getSymValues(getContext(), sums));
  return getResult();
}

OpFoldResult PadOp::fold(FoldAdaptor adaptor) {
  auto isZero = [](const SymExpr &count) { return count.isConstant(0); };
  if (llvm::all_of(getExprs(getLow()), isZero) && llvm::all_of(getExprs(getHigh()), isZero) &&
      getInput().getType() == getType())
    return getInput();
  return foldMovement(*this, adaptor.getOperands(), 2);
}

OpFoldResult GatherOp::fold(FoldAdaptor adaptor) {
  if (Attribute value = foldMovement(*this, adaptor.getOperands(), 1))
    return value;
  // One element of a shape is known where its dimension is, whatever the others
  // are (and before the shape operation itself can fold).
  auto shape = getInput().getDefiningOp<ShapeOp>();
  std::optional<SmallVector<SymExpr>> indices = getSymbolicValue(adaptor.getIndices());
  auto type = cast<RankedTensorType>(getType());
  if (!shape || !indices || !type.hasStaticShape())
    return {};
  SmallVector<SymExpr> dims = getDims(shape.getInput()), picked;
  for (const SymExpr &index : *indices) {
    int64_t at = index.getConstant().value_or(dims.size()), rank = dims.size();
    at = at < 0 ? at + rank : at;
    if (at < 0 || at >= rank || dims[at].isUnknown())
      return {};
    picked.push_back(dims[at]);
  }
  return getSymbolicAttr(type, picked);
}

OpFoldResult GatherElementsOp::fold(FoldAdaptor adaptor) { return foldMovement(*this, adaptor.getOperands(), 1); }
OpFoldResult GatherNDOp::fold(FoldAdaptor adaptor) { return foldMovement(*this, adaptor.getOperands(), 1); }
OpFoldResult IotaOp::fold(FoldAdaptor adaptor) { return foldConstant(*this, adaptor.getOperands()); }
OpFoldResult TriluOp::fold(FoldAdaptor adaptor) { return foldConstant(*this, adaptor.getOperands()); }
