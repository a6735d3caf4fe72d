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

/// Whether `parameter` broadcasts to `input` without making it larger.
static bool broadcastsTo(Value parameter, Value input) {
  SmallVector<SymExpr> from = getDims(parameter), to = getDims(input);
  if (from.size() > to.size())
    return false;
  for (auto [a, b] : llvm::zip(llvm::reverse(from), llvm::reverse(to)))
    if (a.getConstant() && b.getConstant() && !a.isConstant(1) && a != b)
      return false;
  return true;
}

static LogicalResult verifyParameters(Operation *op, Value input, ValueRange parameters) {
  for (Value parameter : parameters) // (C2)
    if (!broadcastsTo(parameter, input))
      return op->emitOpError() << "expected parameters that broadcast to " << input.getType() << ", but got "
                               << parameter.getType();
  return success();
}

LogicalResult QuantizeOp::verify() {
  if (failed(verifyCompatibleShape(getInput().getType(), getType()))) // (C2)
    return emitOpError() << "expected compatible shapes, but got " << getInput().getType() << " and " << getType();
  if (failed(verifyParameters(*this, getInput(), getOperands().drop_front())))
    return failure();
  if (isa<FloatType>(getElementTypeOrSelf(getType())) && getElementTypeOrSelf(getType()).getIntOrFloatBitWidth() > 8)
    return emitOpError() << "expected a result of integers or floats of at most 8 bits, but got " << getType();
  if (getNarrowRange() && !getElementTypeOrSelf(getType()).isSignlessInteger()) // (C3)
    return emitOpError() << "expected a signed result with narrow_range, but got " << getType();
  if (getZeroPoint() && getElementTypeOrSelf(getZeroPoint()) != getElementTypeOrSelf(getType())) // (C1)
    return emitOpError() << "expected a zero point of type " << getElementTypeOrSelf(getType()) << ", but got "
                         << getZeroPoint().getType();
  return success();
}

LogicalResult FakeQuantizeOp::inferReturnTypes(MLIRContext *, std::optional<Location>, Adaptor adaptor,
                                               SmallVectorImpl<Type> &types) {
  types.push_back(adaptor.getInput().getType());
  return success();
}

Value FakeQuantizeOp::expand(OpBuilder &builder) {
  Value q = QuantizeOp::create(builder, getLoc(), withElementType(getType(), getStorage()), getInput(), getScale(),
                               getZeroPoint(), builder.getBoolAttr(getNarrowRange()));
  return DequantizeOp::create(builder, getLoc(), q, getScale(), getZeroPoint());
}

LogicalResult FakeQuantizeOp::verify() {
  Type element = getElementTypeOrSelf(getInput());
  auto storage = dyn_cast<IntegerType>(getStorage());
  if (!storage || storage.isSigned() || storage.getWidth() < 2 || storage.getWidth() > 16) // (C1)
    return emitOpError() << "expected integers of 2 to 16 bits as storage, but got " << getStorage();
  if (getZeroPoint() && getElementTypeOrSelf(getZeroPoint()) != storage)
    return emitOpError() << "expected a zero point of type " << storage << ", but got " << getZeroPoint().getType();
  if (getElementTypeOrSelf(getScale()) != element)
    return emitOpError() << "expected a scale of type " << element << ", but got " << getScale().getType();
  if (failed(verifyParameters(*this, getInput(), getOperands().drop_front())))
    return failure();
  if (getNarrowRange() && !storage.isSignless()) // (C3)
    return emitOpError() << "expected signed integers with narrow_range, but got " << storage;
  return success();
}

LogicalResult DequantizeOp::inferReturnTypes(MLIRContext *, std::optional<Location>, Adaptor adaptor,
                                             SmallVectorImpl<Type> &types) {
  types.push_back(withElementType(adaptor.getInput().getType(), getElementTypeOrSelf(adaptor.getScale())));
  return success();
}

LogicalResult DequantizeOp::verify() {
  if (failed(verifyParameters(*this, getInput(), getOperands().drop_front())))
    return failure();
  if (getZeroPoint() && getElementTypeOrSelf(getZeroPoint()) != getElementTypeOrSelf(getInput())) // (C1)
    return emitOpError() << "expected a zero point of type " << getElementTypeOrSelf(getInput()) << ", but got "
                         << getZeroPoint().getType();
  return success();
}
