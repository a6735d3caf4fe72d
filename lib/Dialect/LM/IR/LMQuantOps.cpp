// Result types and constraints of explicit quantization.
#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;

LogicalResult AbsMaxScaleOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                              SmallVectorImpl<Type> &types) {
  SmallVector<SymExpr> dims = getDims(adaptor.getInput());
  SmallVector<bool> seen(dims.size());
  for (int64_t axis : adaptor.getAxes()) { // (C1)
    if (axis < 0 || axis >= static_cast<int64_t>(dims.size()) || seen[axis])
      return emitOptionalError(loc, "expected distinct axes in [0, ", dims.size(), "), but got ", axis);
    seen[axis] = true;
    dims[axis] = 1;
  }
  types.push_back(getTensorType(dims, getElementTypeOrSelf(adaptor.getInput())));
  return success();
}

LogicalResult AbsMaxScaleOp::verify() {
  if (!(getQmax().convertToDouble() > 0)) // (C2)
    return emitOpError() << "expected a positive qmax, but got " << getQmax().convertToDouble();
  return success();
}

LogicalResult QuantizeOp::verify() {
  if (getZeroPoint() && getElementTypeOrSelf(getZeroPoint()) != getElementTypeOrSelf(getType())) // (C1)
    return emitOpError() << "expected a zero point of type " << getElementTypeOrSelf(getType()) << ", but got "
                         << getZeroPoint().getType();
  return success();
}

LogicalResult DequantizeOp::inferReturnTypes(MLIRContext *, std::optional<Location>, Adaptor adaptor,
                                             SmallVectorImpl<Type> &types) {
  types.push_back(withElementType(adaptor.getInput().getType(), getElementTypeOrSelf(adaptor.getScale())));
  return success();
}

LogicalResult DequantizeOp::verify() {
  if (getZeroPoint() && getElementTypeOrSelf(getZeroPoint()) != getElementTypeOrSelf(getInput())) // (C1)
    return emitOpError() << "expected a zero point of type " << getElementTypeOrSelf(getInput()) << ", but got "
                         << getZeroPoint().getType();
  return success();
}
