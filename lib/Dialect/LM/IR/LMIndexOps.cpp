// Result types and constraints of scatters, sorting and data-dependent sizes.
#include "llmopt/Dialect/LM/IR/LM.h"
#include "llmopt/Dialect/LM/IR/ShapeChecks.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;

static bool isOneElement(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return !type.hasStaticShape() || type.getNumElements() == 1;
}

static bool isI64(Type type) { return getElementTypeOrSelf(type).isSignlessInteger(64); }

//===- Scatters --------------------------------------------------------------===//

LogicalResult ScatterElementsOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                                  SmallVectorImpl<Type> &types) {
  Type input = adaptor.getInput().getType(), updates = adaptor.getUpdates().getType();
  SmallVector<SymExpr> dims = getDims(input), indices = getDims(adaptor.getIndices());
  int64_t axis = adaptor.getAxis(), rank = dims.size();
  if (axis < 0 || axis >= rank || indices.size() != dims.size()) // (C1)
    return emitOptionalError(loc, "expected operands of one rank and axis in [0, ", rank, "), but got ",
                             adaptor.getIndices().getType(), " and ", axis);
  if (getElementTypeOrSelf(updates) != getElementTypeOrSelf(input) || mayDiffer(indices, getDims(updates))) // (C2)
    return emitOptionalError(loc, "expected updates of the shape of ", adaptor.getIndices().getType(),
                             " and the element type of ", input, ", but got ", updates);
  types.push_back(input);
  return success();
}

LogicalResult ScatterElementsOp::verify() { return success(); }

LogicalResult ScatterNDOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                            SmallVectorImpl<Type> &types) {
  Type input = adaptor.getInput().getType(), updates = adaptor.getUpdates().getType();
  SmallVector<SymExpr> dims = getDims(input), indices = getDims(adaptor.getIndices());
  std::optional<int64_t> tuple = indices.empty() ? std::nullopt : indices.back().getConstant();
  if (!tuple || *tuple < 0 || *tuple > static_cast<int64_t>(dims.size())) // (C1)
    return emitOptionalError(loc, "expected index tuples of at most ", dims.size(), " elements, but got ",
                             adaptor.getIndices().getType());
  SmallVector<SymExpr> expected(indices.begin(), indices.end() - 1);
  expected.append(dims.begin() + *tuple, dims.end());
  if (getElementTypeOrSelf(updates) != getElementTypeOrSelf(input) || mayDiffer(expected, getDims(updates))) // (C2)
    return emitOptionalError(loc, "expected updates of ", getTensorType(expected, getElementTypeOrSelf(input)),
                             ", but got ", updates);
  types.push_back(input);
  return success();
}

LogicalResult ScatterNDOp::verify() { return success(); }

//===- Sorting, selection ----------------------------------------------------===//

LogicalResult ArgSortOp::verify() {
  SmallVector<SymExpr> dims = getDims(getInput()), result = getDims(getType());
  int64_t axis = getAxis(), rank = dims.size();
  if (axis < 0 || axis >= rank || (getLexicographic() && (rank != 2 || axis != 0))) // (C1)
    return emitOpError() << "expected axis in [0, " << rank << "), 0 of a matrix with lexicographic, but got " << axis;
  if (getLexicographic())
    dims.pop_back();
  std::optional<int64_t> size = dims[axis].getConstant();
  if (result.size() == dims.size() && (!size || !result[axis].getConstant() || *result[axis].getConstant() <= *size))
    dims[axis] = result[axis];
  if (!isI64(getType()) || mayDiffer(dims, result)) // (C2)
    return emitOpError() << "expected i64 indices of the shape of " << getInput().getType() << ", but got "
                         << getType();
  return success();
}

LogicalResult TrueIndicesOp::verify() {
  if (getDims(getMask()).size() != 1 || getDims(getType()).size() != 1 || !isI64(getType())) // (C1)
    return emitOpError() << "expected vectors, and i64 indices, but got " << getMask().getType() << " and "
                         << getType();
  return success();
}

LogicalResult DefineSymbolOp::verify() {
  if (!isI64(getValue().getType()) || !isOneElement(getValue())) // (C1)
    return emitOpError() << "expected one i64, but got " << getValue().getType();
  if (getBound().getExprs().size() != 1) // (C2)
    return emitOpError() << "expected one bound, but got " << getBound().getExprs().size();
  std::optional<SymExpr> parsed = SymExpr::parse(getSymbol());
  if (!getSymbol().starts_with("count_") || !parsed || parsed->getSymbol() != getSymbol().str()) // (C3)
    return emitOpError() << "expected a name that begins with count_, but got '" << getSymbol() << "'";
  return success();
}

LogicalResult NonMaxSuppressionOp::verify() {
  SmallVector<SymExpr> boxes = getDims(getBoxes()), scores = getDims(getScores()), result = getDims(getType());
  Type element = getElementTypeOrSelf(getBoxes());
  if (boxes.size() != 3 || scores.size() != 3 || mayDiffer(boxes[2], 4) || mayDiffer(boxes[0], scores[0]) ||
      mayDiffer(boxes[1], scores[2]) || getElementTypeOrSelf(getScores()) != element) // (C1)
    return emitOpError() << "expected boxes [B, N, 4] and scores [B, C, N] of one type, but got "
                         << getBoxes().getType() << " and " << getScores().getType();
  auto isThreshold = [&](Value value) {
    return !value || (getElementTypeOrSelf(value) == element && isOneElement(value));
  };
  if (!isI64(getMaxOutput().getType()) || !isOneElement(getMaxOutput()) || !isThreshold(getIouThreshold()) ||
      !isThreshold(getScoreThreshold())) // (C2)
    return emitOpError() << "expected one i64 as max_output and thresholds of one " << element;
  if (!isI64(getType()) || result.size() != 3 || mayDiffer(result[0], scores[0]) || mayDiffer(result[1], scores[1]))
    return emitOpError() << "expected a result [B, C, K] of i64, but got " << getType(); // (C3)
  return success();
}
