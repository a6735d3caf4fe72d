// Result types of elementwise operations.
#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;

namespace {

/// The broadcast of `operands`, with `elementType`.
LogicalResult inferBroadcast(std::optional<Location> loc, ArrayRef<Value> operands, Type elementType,
                             SmallVectorImpl<Type> &types) {
  SmallVector<SymExpr> dims;
  for (Value operand : operands) {
    if (!isa<RankedTensorType>(operand.getType()))
      return emitOptionalError(loc, "expected ranked operands, but got ", operand.getType());
    FailureOr<SmallVector<SymExpr>> joined = broadcastDims(dims, getDims(operand));
    if (failed(joined))
      return emitOptionalError(loc, "expected operands that broadcast, but got ", operands.front().getType(), " and ",
                               operand.getType());
    dims = *joined;
  }
  types.push_back(getTensorType(dims, elementType));
  return success();
}

LogicalResult inferSame(std::optional<Location> loc, Value operand, Type elementType, SmallVectorImpl<Type> &types) {
  return inferBroadcast(loc, {operand}, elementType, types);
}

} // namespace

#define LM_INFER_UNARY(OP)                                                                                             \
  LogicalResult OP::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,                      \
                                     SmallVectorImpl<Type> &types) {                                                   \
    return inferSame(loc, adaptor.getInput(), getElementTypeOrSelf(adaptor.getInput()), types);                        \
  }
LM_INFER_UNARY(NegOp)
LM_INFER_UNARY(AbsOp)
LM_INFER_UNARY(ExpOp)
LM_INFER_UNARY(LogOp)
LM_INFER_UNARY(SqrtOp)
LM_INFER_UNARY(ReciprocalOp)
LM_INFER_UNARY(SinOp)
LM_INFER_UNARY(CosOp)
LM_INFER_UNARY(ErfOp)
LM_INFER_UNARY(TanhOp)
LM_INFER_UNARY(SigmoidOp)
LM_INFER_UNARY(SoftplusOp)
LM_INFER_UNARY(ReluOp)
LM_INFER_UNARY(SignOp)
LM_INFER_UNARY(FloorOp)
LM_INFER_UNARY(CeilOp)
LM_INFER_UNARY(RoundOp)
LM_INFER_UNARY(NotOp)
LM_INFER_UNARY(LeakyReluOp)
LM_INFER_UNARY(EluOp)
LM_INFER_UNARY(ClipOp)
#undef LM_INFER_UNARY

#define LM_INFER_BINARY(OP)                                                                                            \
  LogicalResult OP::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,                      \
                                     SmallVectorImpl<Type> &types) {                                                   \
    if (getElementTypeOrSelf(adaptor.getLhs()) != getElementTypeOrSelf(adaptor.getRhs()))                              \
      return emitOptionalError(loc, "expected operands of one element type, but got ", adaptor.getLhs().getType(),     \
                               " and ", adaptor.getRhs().getType());                                                   \
    return inferBroadcast(loc, {adaptor.getLhs(), adaptor.getRhs()}, getElementTypeOrSelf(adaptor.getLhs()), types);   \
  }
LM_INFER_BINARY(AddOp)
LM_INFER_BINARY(SubOp)
LM_INFER_BINARY(MulOp)
LM_INFER_BINARY(DivOp)
LM_INFER_BINARY(ModOp)
LM_INFER_BINARY(MinOp)
LM_INFER_BINARY(MaxOp)
LM_INFER_BINARY(AndOp)
LM_INFER_BINARY(OrOp)
LM_INFER_BINARY(XorOp)
#undef LM_INFER_BINARY

LogicalResult PowOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                      SmallVectorImpl<Type> &types) {
  return inferBroadcast(loc, {adaptor.getLhs(), adaptor.getRhs()}, getElementTypeOrSelf(adaptor.getLhs()), types);
}

LogicalResult IsNaNOp::inferReturnTypes(MLIRContext *context, std::optional<Location> loc, Adaptor adaptor,
                                        SmallVectorImpl<Type> &types) {
  return inferSame(loc, adaptor.getInput(), IntegerType::get(context, 1), types);
}

LogicalResult IsInfOp::inferReturnTypes(MLIRContext *context, std::optional<Location> loc, Adaptor adaptor,
                                        SmallVectorImpl<Type> &types) {
  return inferSame(loc, adaptor.getInput(), IntegerType::get(context, 1), types);
}

LogicalResult CompareOp::inferReturnTypes(MLIRContext *context, std::optional<Location> loc, Adaptor adaptor,
                                          SmallVectorImpl<Type> &types) {
  if (getElementTypeOrSelf(adaptor.getLhs()) != getElementTypeOrSelf(adaptor.getRhs()))
    return emitOptionalError(loc, "expected operands of one element type, but got ", adaptor.getLhs().getType(),
                             " and ", adaptor.getRhs().getType());
  return inferBroadcast(loc, {adaptor.getLhs(), adaptor.getRhs()}, IntegerType::get(context, 1), types);
}

LogicalResult WhereOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                        SmallVectorImpl<Type> &types) {
  if (getElementTypeOrSelf(adaptor.getLhs()) != getElementTypeOrSelf(adaptor.getRhs()))
    return emitOptionalError(loc, "expected operands of one element type, but got ", adaptor.getLhs().getType(),
                             " and ", adaptor.getRhs().getType());
  return inferBroadcast(loc, {adaptor.getCondition(), adaptor.getLhs(), adaptor.getRhs()},
                        getElementTypeOrSelf(adaptor.getLhs()), types);
}

void CastOp::build(OpBuilder &builder, OperationState &state, Value input, Type elementType) {
  build(builder, state, withElementType(input.getType(), elementType), input);
}

LogicalResult CastOp::verify() {
  if (failed(verifyCompatibleShape(getInput().getType(), getType()))) // (C1)
    return emitOpError() << "expected compatible shapes, but got " << getInput().getType() << " and " << getType();
  if (getRounding() != Rounding::Nearest && !isa<Float8E8M0FNUType>(getElementTypeOrSelf(getType()))) // (C2)
    return emitOpError() << "expected a rounding only to f8E8M0FNU, but got a result of " << getType();
  return success();
}

LogicalResult ClipOp::verify() {
  for (Value limit : {Value(getMin()), Value(getMax())}) { // (C1)
    if (!limit)
      continue;
    auto type = cast<ShapedType>(limit.getType());
    if (type.getElementType() != getElementTypeOrSelf(getInput()))
      return emitOpError() << "expected limits of the operand's element type, but got " << type;
    if (type.hasStaticShape() && type.getNumElements() != 1)
      return emitOpError() << "expected limits of one element, but got " << type;
  }
  return success();
}
