// Result types and constraints of the raised transformer operations.
#include "llmopt/Dialect/LM/IR/LM.h"
#include "llmopt/Dialect/LM/IR/ShapeChecks.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;

LogicalResult NormOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                       SmallVectorImpl<Type> &types) {
  if (getDims(adaptor.getInput()).empty())
    return emitOptionalError(loc, "expected an operand of rank 1 or more, but got ", adaptor.getInput().getType());
  types.push_back(adaptor.getInput().getType());
  return success();
}

LogicalResult NormOp::verify() {
  if (failed(verifyInference(*this)))
    return failure();
  SymExpr width = getDims(getInput()).back();
  for (Value parameter : {Value(getScale()), Value(getBias())}) { // (C1)
    if (!parameter)
      continue;
    SmallVector<SymExpr> dims = getDims(parameter);
    if (dims.size() != 1 || mayDiffer(dims.front(), width))
      return emitOpError() << "expected scale and bias of " << width.str() << " elements, but got "
                           << parameter.getType();
  }
  if (getEpsilon().convertToDouble() < 0) // (C2)
    return emitOpError() << "expected an epsilon that is not negative, but got " << getEpsilon().convertToDouble();
  return success();
}

LogicalResult GeluOp::inferReturnTypes(MLIRContext *, std::optional<Location>, Adaptor adaptor,
                                       SmallVectorImpl<Type> &types) {
  types.push_back(adaptor.getInput().getType());
  return success();
}

LogicalResult EmbeddingOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                            SmallVectorImpl<Type> &types) {
  SmallVector<SymExpr> table = getDims(adaptor.getTable()), dims = getDims(adaptor.getIds());
  if (table.size() != 2) // (C1)
    return emitOptionalError(loc, "expected a table of rank 2, but got ", adaptor.getTable().getType());
  dims.push_back(table[1]);
  types.push_back(getTensorType(dims, getElementTypeOrSelf(adaptor.getTable())));
  return success();
}

LogicalResult EmbeddingOp::verify() { return success(); }

LogicalResult AttentionOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                            SmallVectorImpl<Type> &types) {
  SmallVector<SymExpr> q = getDims(adaptor.getQuery()), k = getDims(adaptor.getKey()), v = getDims(adaptor.getValue());
  int64_t heads = adaptor.getNumHeads(), kvHeads = adaptor.getKvNumHeads();
  if (q.size() != 3 || k.size() != 3 || v.size() != 3) // (C1)
    return emitOptionalError(loc, "expected operands of rank 3, but got ", adaptor.getQuery().getType(), ", ",
                             adaptor.getKey().getType(), " and ", adaptor.getValue().getType());
  if (heads < 1 || kvHeads < 1 || heads % kvHeads != 0) // (C2)
    return emitOptionalError(loc, "expected a head count that is a multiple of ", kvHeads, ", but got ", heads);
  auto width = SymExpr::divideExactly(v[2], kvHeads);
  types.push_back(getTensorType({q[0], q[1], width ? *width * SymExpr(heads) : SymExpr::unknown()},
                                getElementTypeOrSelf(adaptor.getQuery())));
  return success();
}

/// What the operands and attributes of attention and of its gradients agree on.
template <typename OpTy> static LogicalResult verifyAttention(OpTy op) {
  SmallVector<SymExpr> q = getDims(op.getQuery()), k = getDims(op.getKey()), v = getDims(op.getValue());
  if (getElementTypeOrSelf(op.getQuery()) != getElementTypeOrSelf(op.getKey()) ||
      getElementTypeOrSelf(op.getQuery()) != getElementTypeOrSelf(op.getValue())) // (C1)
    return op.emitOpError() << "expected operands of one element type, but got " << op.getQuery().getType() << ", "
                            << op.getKey().getType() << " and " << op.getValue().getType();
  if (mayDiffer(q[0], k[0]) || mayDiffer(k[0], v[0]) || mayDiffer(k[1], v[1])) // (C1)
    return op.emitOpError() << "expected equal batch and key lengths, but got " << op.getQuery().getType() << ", "
                            << op.getKey().getType() << " and " << op.getValue().getType();
  int64_t heads = op.getNumHeads(), kvHeads = op.getKvNumHeads();
  std::optional<int64_t> qw = q[2].getConstant(), kw = k[2].getConstant(), vw = v[2].getConstant();
  if (!qw || !kw || !vw || *qw % heads != 0 || *kw % kvHeads != 0 || *vw % kvHeads != 0 ||
      *qw / heads != *kw / kvHeads) // (C2)
    return op.emitOpError() << "expected widths of " << heads << " and " << kvHeads << " heads, but got "
                            << op.getQuery().getType() << ", " << op.getKey().getType() << " and "
                            << op.getValue().getType();
  MaskKind kind = op.getMaskKind(); // (C3)
  if ((kind == MaskKind::None) != !op.getMask())
    return op.emitOpError() << "expected a mask exactly where mask_kind is not none";
  if (!op.getMask())
    return success();
  auto mask = cast<RankedTensorType>(op.getMask().getType());
  bool fits = kind == MaskKind::Additive  ? mask.getRank() == 4 && isa<FloatType>(mask.getElementType())
              : kind == MaskKind::Boolean ? mask.getRank() == 4 && mask.getElementType().isInteger(1)
                                          : mask.getRank() == 1 && mask.getElementType().isInteger();
  if (!fits)
    return op.emitOpError() << "expected a mask of kind " << stringifyMaskKind(kind) << ", but got " << mask;
  return success();
}

LogicalResult AttentionOp::verify() {
  if (failed(verifyInference(*this)))
    return failure();
  return verifyAttention(*this);
}

LogicalResult AttentionGradOp::verify() {
  int64_t heads = getNumHeads(), kvHeads = getKvNumHeads();
  SmallVector<SymExpr> q = getDims(getQuery()), k = getDims(getKey()), v = getDims(getValue()),
                       gradient = getDims(getGradient());
  if (q.size() != 3 || k.size() != 3 || v.size() != 3 || gradient.size() != 3) // (C1)
    return emitOpError() << "expected operands of rank 3, but got " << getQuery().getType() << ", "
                         << getKey().getType() << ", " << getValue().getType() << " and " << getGradient().getType();
  if (heads < 1 || kvHeads < 1 || heads % kvHeads != 0) // (C1)
    return emitOpError() << "expected a head count that is a multiple of " << kvHeads << ", but got " << heads;
  if (failed(verifyAttention(*this))) // (C1)
    return failure();
  SymExpr width = *SymExpr::divideExactly(v[2], kvHeads) * SymExpr(heads);
  Type element = getElementTypeOrSelf(getQuery());
  if (mayDiffer(gradient[0], q[0]) || mayDiffer(gradient[1], q[1]) || mayDiffer(gradient[2], width) ||
      getElementTypeOrSelf(getGradient()) != element) // (C1)
    return emitOpError() << "expected a gradient of the result of attention, but got " << getGradient().getType();
  AttentionOperand of = getOf(); // (C2)
  if (of == AttentionOperand::Mask && getMaskKind() != MaskKind::Additive)
    return emitOpError() << "expected an additive mask to differentiate by, but got one of kind "
                         << stringifyMaskKind(getMaskKind());
  Type wanted = of == AttentionOperand::Query ? getQuery().getType()
                : of == AttentionOperand::Key ? getKey().getType()
                : of == AttentionOperand::Value
                    ? getValue().getType()
                    : getTensorType({q[0], heads, q[1], k[1]}, getElementTypeOrSelf(getMask()));
  if (!areCompatibleTypes(wanted, getType()))
    return emitOpError() << "expected a result of type " << wanted << ", but got " << getType();
  return success();
}
