// Verifiers of what only training steps use.
#include "KernelChecks.h"

#include "llmopt/Dialect/LM/IR/ShapeChecks.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::kernel;
using lm::mayDiffer;

static Type getPanelsType(Type input, int64_t width, bool transpose) {
  auto type = cast<RankedTensorType>(input);
  int64_t k = type.getDimSize(transpose ? 1 : 0), n = type.getDimSize(transpose ? 0 : 1);
  return RankedTensorType::get({(n + width - 1) / width, k, width}, type.getElementType());
}

void PackPanelsOp::build(OpBuilder &builder, OperationState &state, Value input, int64_t width, bool transpose) {
  build(builder, state, getPanelsType(input.getType(), width, transpose), input, builder.getI64IntegerAttr(width),
        transpose ? builder.getUnitAttr() : UnitAttr());
}

LogicalResult PackPanelsOp::verify() {
  auto type = cast<RankedTensorType>(getInput().getType());
  if (type.getRank() != 2 || !type.hasStaticShape()) // (C1)
    return emitOpError() << "expected a static matrix, but got " << type;
  if (int64_t(getWidth()) < 1)
    return emitOpError() << "expected a positive width, but got " << getWidth();
  if (Type expected = getPanelsType(type, getWidth(), getTranspose()); getResult().getType() != expected) // (C2)
    return emitOpError() << "expected the result " << expected << ", but got " << getResult().getType();
  return success();
}

LogicalResult EmbeddingGradOp::verify() {
  auto type = cast<RankedTensorType>(getResult().getType());
  if (type.getRank() != 2 || !type.hasStaticShape()) // (C1)
    return emitOpError() << "expected a static table, but got " << type;
  lm::SymExpr wanted = lm::getNumElements(getIds().getType()) * lm::SymExpr(type.getDimSize(1));
  if (mayDiffer(lm::getNumElements(getGradient().getType()), wanted)) // (C2)
    return emitOpError() << "expected " << wanted.str() << " elements of the gradient, but got "
                         << getGradient().getType();
  return success();
}
