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

LogicalResult DropoutOp::verify() {
  auto isScalar = [](Value value, auto isElement) {
    return getDims(value).empty() && isElement(getElementTypeOrSelf(value));
  };
  auto isReal = [](Type type) { return type.isF32() || type.isF64(); };
  auto isI64 = [](Type type) { return type.isSignlessInteger(64); };
  if (!isScalar(getProbability(), isReal) || !isScalar(getSeed(), isI64) || !isScalar(getStep(), isI64)) // (C1)
    return emitOpError() << "expected an f32 or f64 and two i64 scalars, but got " << getProbability().getType() << ", "
                         << getSeed().getType() << " and " << getStep().getType();
  int64_t id = static_cast<int64_t>(getId());
  if (id < 0 || id > UINT32_MAX) // (C2)
    return emitOpError() << "expected an id of 32 bits, but got " << id;
  return success();
}
