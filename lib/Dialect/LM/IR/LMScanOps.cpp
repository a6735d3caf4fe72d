// Result types and constraints of recurrences.
#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;

LogicalResult CumProdOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                          SmallVectorImpl<Type> &types) {
  auto type = cast<RankedTensorType>(adaptor.getInput().getType());
  int64_t axis = adaptor.getAxis();
  if (axis < 0 || axis >= type.getRank()) // (C1)
    return emitOptionalError(loc, "expected axis in [0, ", type.getRank(), "), but got ", axis);
  types.push_back(type);
  return success();
}

LogicalResult CumProdOp::verify() { return success(); }

LogicalResult LinearAttentionOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                                  SmallVectorImpl<Type> &types) {
  Type element = getElementTypeOrSelf(adaptor.getQuery());
  SmallVector<SymExpr> q = getDims(adaptor.getQuery()), k = getDims(adaptor.getKey()), v = getDims(adaptor.getValue());
  int64_t heads = adaptor.getNumHeads();
  std::optional<SymExpr> dk, dv, group;
  if (heads > 0 && q.size() == 3 && k.size() == 3 && v.size() == 3) {
    dk = SymExpr::divideExactly(k[2], heads);
    dv = SymExpr::divideExactly(v[2], heads);
    group = SymExpr::divideExactly(q[2], k[2]);
  }
  bool fits = dk && dv && group && group->getConstant().value_or(0) > 0 && dk->getConstant().value_or(1) > 0 &&
              dv->getConstant().value_or(1) > 0;
  for (Value value : {adaptor.getKey(), adaptor.getValue(), adaptor.getPast(), adaptor.getDecay(), adaptor.getBeta()})
    fits &= !value || getElementTypeOrSelf(value) == element;
  if (!fits) // (C1)
    return emitOptionalError(loc, "expected query, key and value [B, T, width] of one type, with widths of ", heads,
                             " heads, but got ", adaptor.getQuery().getType(), ", ", adaptor.getKey().getType(),
                             " and ", adaptor.getValue().getType());
  const SymExpr numHeads(heads);
  auto isOf = [&](Value value, ArrayRef<SymExpr> widths) {
    SmallVector<SymExpr> dims = getDims(value);
    return dims.size() == 3 && llvm::any_of(widths, [&](const SymExpr &width) { return dims[2] == width; });
  };
  if (Value past = adaptor.getPast()) { // (C2)
    SmallVector<SymExpr> dims = getDims(past);
    if (dims.size() != 4 || dims[1] != numHeads || dims[2] != *dk || dims[3] != *dv)
      return emitOptionalError(loc, "expected a past state [B, ", heads, ", ", dk->str(), ", ", dv->str(),
                               "], but got ", past.getType());
  }
  if (adaptor.getDecay() && !isOf(adaptor.getDecay(), {numHeads, k[2]}))
    return emitOptionalError(loc, "expected a decay of ", heads, " or ", k[2].str(), " columns, but got ",
                             adaptor.getDecay().getType());
  if (adaptor.getBeta() && !isOf(adaptor.getBeta(), {numHeads, SymExpr(1)}))
    return emitOptionalError(loc, "expected a beta of ", heads, " columns or one, but got ",
                             adaptor.getBeta().getType());
  types.push_back(getTensorType({q[0], numHeads, q[1] * *group + *dk, *dv}, element));
  return success();
}

LogicalResult LinearAttentionOp::verify() { return success(); }
