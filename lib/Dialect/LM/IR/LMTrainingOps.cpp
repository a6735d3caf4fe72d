// Constraints of operations that only training steps use.
#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;

LogicalResult EmbeddingGradOp::verify() {
  SmallVector<SymExpr> ids = getDims(getIds()), gradient = getDims(getGradient()), result = getDims(getType());
  bool fits = gradient.size() == ids.size() + 1 && result.size() == 2 &&
              getElementTypeOrSelf(getGradient()) == getElementTypeOrSelf(getType()) &&
              (!gradient.back().getConstant() || !result[1].getConstant() || gradient.back() == result[1]);
  if (!fits) // (C1)
    return emitOpError() << "expected gradient rows for every id, but got " << getIds().getType() << ", "
                         << getGradient().getType() << " and " << getType();
  return success();
}
