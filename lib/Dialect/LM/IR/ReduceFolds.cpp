// Folds of reductions and scans.
#include "FoldSupport.h"

using namespace mlir;
using namespace llmopt::lm;

/// What a reduction does to each element before it combines them, for the kinds
/// that expressions have.
static std::optional<SymExpr> mapElement(ReduceKind kind, const SymExpr &value) {
  switch (kind) {
  case ReduceKind::Sum:
  case ReduceKind::Prod:
  case ReduceKind::Max:
  case ReduceKind::Min:
  case ReduceKind::Mean:
    return value;
  case ReduceKind::SumSquare:
    return value * value;
  default:
    return std::nullopt;
  }
}

/// The reduction of symbolic sizes, for the kinds that expressions have.
static Attribute reduceSymbolic(ReduceOp op, SymValuesAttr input) {
  auto from = cast<RankedTensorType>(input.getType()), to = cast<RankedTensorType>(op.getType());
  SmallVector<SymExpr> values = getExprs(input);
  if (!to.hasStaticShape() || values.empty())
    return {};
  SmallVector<std::optional<SymExpr>> results(to.getNumElements());
  for (auto [n, value] : llvm::enumerate(values)) {
    // Position in the result: drop the reduced digits of the row-major number.
    int64_t rest = n, at = 0, stride = 1;
    for (int64_t d = from.getRank() - 1; d >= 0; --d) {
      int64_t position = rest % from.getDimSize(d);
      rest /= from.getDimSize(d);
      if (llvm::is_contained(op.getAxes(), d))
        continue;
      at += position * stride;
      stride *= from.getDimSize(d);
    }
    std::optional<SymExpr> &slot = results[at];
    std::optional<SymExpr> mapped = mapElement(op.getKind(), value);
    if (!mapped)
      return {};
    if (!slot)
      slot = mapped;
    else if (op.getKind() == ReduceKind::Sum || op.getKind() == ReduceKind::SumSquare)
      slot = *slot + *mapped;
    else if (op.getKind() == ReduceKind::Prod)
      slot = *slot * value;
    else if (op.getKind() == ReduceKind::Max)
      slot = SymExpr::max(*slot, value);
    else if (op.getKind() == ReduceKind::Min)
      slot = SymExpr::min(*slot, value);
    else
      return {};
  }
  SmallVector<SymExpr> known;
  for (const std::optional<SymExpr> &result : results) {
    if (!result || result->isUnknown())
      return {};
    known.push_back(*result);
  }
  return getSymbolicAttr(to, known);
}

OpFoldResult ReduceOp::fold(FoldAdaptor adaptor) {
  // Over no axis at all, these give the operand itself.
  if (getAxes().empty() && getInput().getType() == getType() &&
      llvm::is_contained({ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min, ReduceKind::Prod},
                         getKind()))
    return getInput();
  if (Attribute value = foldConstant(*this, adaptor.getOperands()))
    return value;
  auto symbolic = dyn_cast_or_null<SymValuesAttr>(adaptor.getInput());
  return symbolic ? reduceSymbolic(*this, symbolic) : Attribute();
}

OpFoldResult ArgReduceOp::fold(FoldAdaptor adaptor) { return foldConstant(*this, adaptor.getOperands()); }
OpFoldResult CumSumOp::fold(FoldAdaptor adaptor) { return foldConstant(*this, adaptor.getOperands()); }
