// Result types of operations on bits, and of inverse trigonometric functions.
#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;

#define LM_INFER_SAME(OP)                                                                                              \
  LogicalResult OP::inferReturnTypes(MLIRContext *, std::optional<Location>, Adaptor adaptor,                          \
                                     SmallVectorImpl<Type> &types) {                                                   \
    types.push_back(adaptor.getInput().getType());                                                                     \
    return success();                                                                                                  \
  }
LM_INFER_SAME(AcosOp)
LM_INFER_SAME(AsinOp)
LM_INFER_SAME(AtanOp)
LM_INFER_SAME(AcoshOp)
LM_INFER_SAME(AsinhOp)
LM_INFER_SAME(AtanhOp)
LM_INFER_SAME(BitwiseNotOp)
#undef LM_INFER_SAME

#define LM_INFER_BINARY(OP)                                                                                            \
  LogicalResult OP::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,                      \
                                     SmallVectorImpl<Type> &types) {                                                   \
    Type element = getElementTypeOrSelf(adaptor.getLhs());                                                             \
    FailureOr<SmallVector<SymExpr>> dims = broadcastDims(getDims(adaptor.getLhs()), getDims(adaptor.getRhs()));        \
    if (failed(dims) || element != getElementTypeOrSelf(adaptor.getRhs()))                                             \
      return emitOptionalError(loc, "expected operands that broadcast, of one element type, but got ",                 \
                               adaptor.getLhs().getType(), " and ", adaptor.getRhs().getType());                       \
    types.push_back(getTensorType(*dims, element));                                                                    \
    return success();                                                                                                  \
  }
LM_INFER_BINARY(BitwiseAndOp)
LM_INFER_BINARY(BitwiseOrOp)
LM_INFER_BINARY(BitwiseXorOp)
LM_INFER_BINARY(ShiftLeftOp)
LM_INFER_BINARY(ShiftRightOp)
#undef LM_INFER_BINARY

void BitcastOp::build(OpBuilder &builder, OperationState &state, Value input, Type elementType) {
  build(builder, state, withElementType(input.getType(), elementType), input);
}

LogicalResult BitcastOp::verify() {
  if (failed(verifyCompatibleShape(getInput().getType(), getType()))) // (C1)
    return emitOpError() << "expected compatible shapes, but got " << getInput().getType() << " and " << getType();
  auto bits = [](Type type) {
    unsigned width = getElementTypeOrSelf(type).getIntOrFloatBitWidth();
    return width == 1 ? 8 : width;
  };
  if (bits(getInput().getType()) != bits(getType())) // (C2)
    return emitOpError() << "expected element types of one size, but got " << getInput().getType() << " and "
                         << getType();
  return success();
}

LogicalResult RandomBitsOp::verify() {
  Type element = getElementTypeOrSelf(getType());
  if (!element.isUnsignedInteger(64)) // (C1)
    return emitOpError() << "expected a result of ui64, but got " << getType();
  return success();
}
