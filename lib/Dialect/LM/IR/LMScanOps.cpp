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
  auto widthOf = [](ArrayRef<SymExpr> dims) { return dims.size() == 3 ? dims[2].getConstant().value_or(0) : 0; };
  int64_t wq = widthOf(q), wk = widthOf(k), wv = widthOf(v);
  bool fits = heads > 0 && wq > 0 && wk > 0 && wv > 0 && wk % heads == 0 && wv % heads == 0 && wq % wk == 0;
  for (Value value : {adaptor.getKey(), adaptor.getValue(), adaptor.getPast(), adaptor.getDecay(), adaptor.getBeta()})
    fits &= !value || getElementTypeOrSelf(value) == element;
  if (!fits) // (C1)
    return emitOptionalError(loc, "expected query, key and value [B, T, width] of one type, with widths of ", heads,
                             " heads, but got ", adaptor.getQuery().getType(), ", ", adaptor.getKey().getType(),
                             " and ", adaptor.getValue().getType());
  int64_t dk = wk / heads, dv = wv / heads, group = wq / wk;
  auto isOf = [&](Value value, ArrayRef<int64_t> widths) {
    SmallVector<SymExpr> dims = getDims(value);
    return dims.size() == 3 && llvm::any_of(widths, [&](int64_t width) { return dims[2].isConstant(width); });
  };
  if (Value past = adaptor.getPast()) { // (C2)
    SmallVector<SymExpr> dims = getDims(past);
    if (dims.size() != 4 || !dims[1].isConstant(heads) || !dims[2].isConstant(dk) || !dims[3].isConstant(dv))
      return emitOptionalError(loc, "expected a past state [B, ", heads, ", ", dk, ", ", dv, "], but got ",
                               past.getType());
  }
  if (adaptor.getDecay() && !isOf(adaptor.getDecay(), {heads, heads * dk}))
    return emitOptionalError(loc, "expected a decay of ", heads, " or ", heads * dk, " columns, but got ",
                             adaptor.getDecay().getType());
  if (adaptor.getBeta() && !isOf(adaptor.getBeta(), {heads, 1}))
    return emitOptionalError(loc, "expected a beta of ", heads, " columns or one, but got ",
                             adaptor.getBeta().getType());
  types.push_back(getTensorType({q[0], heads, q[1] * SymExpr(group) + SymExpr(dk), dv}, element));
  return success();
}

LogicalResult LinearAttentionOp::verify() { return success(); }
