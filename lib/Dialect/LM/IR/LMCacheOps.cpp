// Shapes and constraints of operations over caches.
#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;

LogicalResult KVAppendOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                           SmallVectorImpl<Type> &types) {
  SmallVector<SymExpr> cache = getDims(adaptor.getCache()), input = getDims(adaptor.getInput());
  SmallVector<SymExpr> past = getExprs(adaptor.getPast());
  if (cache.size() != 3 || input.size() != 3) // (C1)
    return emitOptionalError(loc, "expected operands of rank 3, but got ", adaptor.getCache().getType(), " and ",
                             adaptor.getInput().getType());
  if (past.size() != 1) // (C2)
    return emitOptionalError(loc, "expected one number of past tokens, but got ", past.size());
  types.push_back(getTensorType({input[0], past[0] + input[1], input[2]}, getElementTypeOrSelf(adaptor.getInput())));
  return success();
}

LogicalResult KVAppendOp::verify() {
  if (failed(verifyInference(*this)))
    return failure();
  SmallVector<SymExpr> cache = getDims(getCache()), input = getDims(getInput());
  if (cache[0] != input[0] || cache[2] != input[2] ||
      getElementTypeOrSelf(getCache()) != getElementTypeOrSelf(getInput())) // (C1)
    return emitOpError() << "expected rows like those of the cache, " << getCache().getType() << ", but got "
                         << getInput().getType();
  return success();
}
