// Builders, verifiers and result types of operations that move elements.
#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;

static int64_t rankOf(Value value) { return cast<RankedTensorType>(value.getType()).getRank(); }

LogicalResult ShapeOp::inferReturnTypes(MLIRContext *context, std::optional<Location>, Adaptor adaptor,
                                        SmallVectorImpl<Type> &types) {
  types.push_back(RankedTensorType::get({rankOf(adaptor.getInput())}, IntegerType::get(context, 64)));
  return success();
}

//===- Reshape, broadcast --------------------------------------------------===//

void ReshapeOp::build(OpBuilder &builder, OperationState &state, Value input, ArrayRef<SymExpr> dims) {
  build(builder, state, getTensorType(dims, getElementTypeOrSelf(input)), input);
}

/// Whether a is larger than b wherever no symbol is 0 (where all sizes may be).
static bool isLarger(const SymExpr &a, const SymExpr &b) {
  SymExpr difference = (a - b).substitute([](StringRef name) { return SymExpr::symbol(name) + SymExpr(1); });
  return difference.lowerBound().value_or(0) > 0;
}

LogicalResult ReshapeOp::verify() {
  if (getElementTypeOrSelf(getInput()) != getElementTypeOrSelf(getType()))
    return emitOpError() << "expected one element type, but got " << getInput().getType() << " and " << getType();
  SymExpr from = getNumElements(getInput().getType()), to = getNumElements(getType()); // (C1)
  if (isLarger(from, to) || isLarger(to, from))
    return emitOpError() << "expected " << from.str() << " elements, but got " << to.str();
  return success();
}

void BroadcastOp::build(OpBuilder &builder, OperationState &state, Value input, ArrayRef<SymExpr> dims) {
  build(builder, state, getTensorType(dims, getElementTypeOrSelf(input)), input);
}

LogicalResult BroadcastOp::verify() {
  SmallVector<SymExpr> from = getDims(getInput()), to = getDims(getType());
  if (getElementTypeOrSelf(getInput()) != getElementTypeOrSelf(getType()))
    return emitOpError() << "expected one element type, but got " << getInput().getType() << " and " << getType();
  if (from.size() > to.size())
    return emitOpError() << "expected a rank of at least " << from.size() << ", but got " << to.size();
  for (auto [i, dim] : llvm::enumerate(from)) { // (C1)
    std::optional<int64_t> a = dim.getConstant(), b = to[to.size() - from.size() + i].getConstant();
    if (a && b && *a != 1 && *a != *b)
      return emitOpError() << "expected dimension " << i << " to be 1 or " << *b << ", but got " << *a;
  }
  return success();
}

//===- Transpose, concat, slice, pad ---------------------------------------===//

LogicalResult TransposeOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                            SmallVectorImpl<Type> &types) {
  SmallVector<SymExpr> dims = getDims(adaptor.getInput()), result;
  SmallVector<bool> seen(dims.size());
  for (int64_t p : adaptor.getPerm()) { // (C1)
    if (p < 0 || p >= static_cast<int64_t>(dims.size()) || seen[p])
      return emitOptionalError(loc, "expected a permutation of ", dims.size(), " dimensions");
    seen[p] = true;
    result.push_back(dims[p]);
  }
  if (result.size() != dims.size())
    return emitOptionalError(loc, "expected a permutation of ", dims.size(), " dimensions");
  types.push_back(getTensorType(result, getElementTypeOrSelf(adaptor.getInput())));
  return success();
}

LogicalResult TransposeOp::verify() { return success(); }

LogicalResult ConcatOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                         SmallVectorImpl<Type> &types) {
  if (adaptor.getInputs().empty())
    return emitOptionalError(loc, "expected at least one operand");
  Value first = adaptor.getInputs().front();
  SmallVector<SymExpr> dims = getDims(first);
  int64_t axis = adaptor.getAxis(), rank = dims.size();
  if (axis < 0 || axis >= rank) // (C1)
    return emitOptionalError(loc, "expected axis in [0, ", rank, "), but got ", axis);
  for (Value input : adaptor.getInputs().drop_front()) { // (C2)
    SmallVector<SymExpr> other = getDims(input);
    if (other.size() != dims.size() || getElementTypeOrSelf(input) != getElementTypeOrSelf(first))
      return emitOptionalError(loc, "expected operands of one rank and element type, but got ", first.getType(),
                               " and ", input.getType());
    for (int64_t i = 0; i < rank; ++i) {
      if (i == axis) {
        dims[i] += other[i];
        continue;
      }
      if (dims[i].getConstant() && other[i].getConstant() && dims[i] != other[i])
        return emitOptionalError(loc, "expected equal dimensions ", i, ", but got ", first.getType(), " and ",
                                 input.getType());
      if (other[i].getConstant() || dims[i].isUnknown())
        dims[i] = other[i];
    }
  }
  types.push_back(getTensorType(dims, getElementTypeOrSelf(first)));
  return success();
}

LogicalResult ConcatOp::verify() { return success(); }

void SliceOp::build(OpBuilder &builder, OperationState &state, Value input, ArrayRef<SymExpr> starts,
                    ArrayRef<SymExpr> sizes, ArrayRef<int64_t> steps) {
  SmallVector<int64_t> ones(starts.size(), 1);
  build(builder, state, getTensorType(sizes, getElementTypeOrSelf(input)), input,
        getSymValues(builder.getContext(), starts), steps.empty() ? ArrayRef<int64_t>(ones) : steps);
}

LogicalResult SliceOp::verify() {
  SmallVector<SymExpr> dims = getDims(getInput()), sizes = getDims(getType()), starts = getExprs(getStarts());
  if (getElementTypeOrSelf(getInput()) != getElementTypeOrSelf(getType()))
    return emitOpError() << "expected one element type, but got " << getInput().getType() << " and " << getType();
  if (starts.size() != dims.size() || getSteps().size() != dims.size() || sizes.size() != dims.size()) // (C1)
    return emitOpError() << "expected " << dims.size() << " starts, steps and result dimensions, but got "
                         << starts.size() << ", " << getSteps().size() << " and " << sizes.size();
  for (auto [i, step] : llvm::enumerate(getSteps())) {
    if (step == 0) // (C1)
      return emitOpError() << "expected a step other than 0 for dimension " << i;
    std::optional<int64_t> start = starts[i].getConstant(), size = sizes[i].getConstant(), dim = dims[i].getConstant();
    if (!start || !size || *size == 0) // (C2)
      continue;
    SymExpr last = SymExpr(*start) + SymExpr(*size - 1) * SymExpr(step);
    std::optional<int64_t> end = last.getConstant();
    if (*start < 0 || !end || *end < 0 || (dim && (*start >= *dim || *end >= *dim)))
      return emitOpError() << "expected indices inside dimension " << i << " of " << getInput().getType()
                           << ", but got " << *start << " to " << last.str();
  }
  return success();
}

LogicalResult PadOp::verify() {
  SmallVector<SymExpr> dims = getDims(getInput());
  if (getLow().getExprs().size() != dims.size() || getHigh().getExprs().size() != dims.size()) // (C1)
    return emitOpError() << "expected " << dims.size() << " entries in low and high, but got "
                         << getLow().getExprs().size() << " and " << getHigh().getExprs().size();
  auto value = cast<ShapedType>(getValue().getType());
  if (value.getElementType() != getElementTypeOrSelf(getInput()) ||
      (value.hasStaticShape() && value.getNumElements() != 1)) // (C2)
    return emitOpError() << "expected one " << getElementTypeOrSelf(getInput()) << " as value, but got " << value;
  SmallVector<SymExpr> low = getExprs(getLow()), high = getExprs(getHigh()), result = getDims(getType());
  if (result.size() != dims.size() || getElementTypeOrSelf(getType()) != getElementTypeOrSelf(getInput())) // (C3)
    return emitOpError() << "expected a result of the operand's rank and element type, but got " << getType();
  for (auto [i, dim] : llvm::enumerate(dims)) { // (C3)
    if (low[i].getConstant().value_or(0) < 0 || high[i].getConstant().value_or(0) < 0)
      return emitOpError() << "expected counts that are not negative, but got " << low[i].str() << " and "
                           << high[i].str();
    std::optional<int64_t> padded = (dim + low[i] + high[i]).getConstant(), size = result[i].getConstant();
    if (padded && size && *padded != *size)
      return emitOpError() << "expected dimension " << i << " of the result to be " << *padded << ", but got " << *size;
  }
  return success();
}

//===- Gathers -------------------------------------------------------------===//

LogicalResult GatherOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                         SmallVectorImpl<Type> &types) {
  SmallVector<SymExpr> input = getDims(adaptor.getInput()), indices = getDims(adaptor.getIndices());
  int64_t axis = adaptor.getAxis(), rank = input.size();
  if (axis < 0 || axis >= rank) // (C1)
    return emitOptionalError(loc, "expected axis in [0, ", rank, "), but got ", axis);
  SmallVector<SymExpr> dims(input.begin(), input.begin() + axis);
  dims.append(indices.begin(), indices.end());
  dims.append(input.begin() + axis + 1, input.end());
  types.push_back(getTensorType(dims, getElementTypeOrSelf(adaptor.getInput())));
  return success();
}

LogicalResult GatherOp::verify() { return success(); }

LogicalResult GatherElementsOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                                 SmallVectorImpl<Type> &types) {
  SmallVector<SymExpr> input = getDims(adaptor.getInput()), indices = getDims(adaptor.getIndices());
  int64_t axis = adaptor.getAxis(), rank = input.size();
  if (axis < 0 || axis >= rank || indices.size() != input.size()) // (C1)
    return emitOptionalError(loc, "expected operands of one rank and axis in [0, ", rank, "), but got ",
                             adaptor.getIndices().getType(), " and ", axis);
  types.push_back(getTensorType(indices, getElementTypeOrSelf(adaptor.getInput())));
  return success();
}

LogicalResult GatherElementsOp::verify() { return success(); }

LogicalResult GatherNDOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                           SmallVectorImpl<Type> &types) {
  SmallVector<SymExpr> input = getDims(adaptor.getInput()), indices = getDims(adaptor.getIndices());
  int64_t batch = adaptor.getBatchDims(), rank = input.size();
  std::optional<int64_t> tuple = indices.empty() ? std::nullopt : indices.back().getConstant();
  if (!tuple || batch < 0 || batch >= static_cast<int64_t>(indices.size()) || *tuple < 1 ||
      *tuple > rank - batch) // (C1)
    return emitOptionalError(loc, "expected index tuples of 1 to ", rank - batch, " elements, but got ",
                             adaptor.getIndices().getType());
  SmallVector<SymExpr> dims(indices.begin(), indices.end() - 1);
  dims.append(input.begin() + batch + *tuple, input.end());
  types.push_back(getTensorType(dims, getElementTypeOrSelf(adaptor.getInput())));
  return success();
}

LogicalResult GatherNDOp::verify() { return success(); }

//===- Iota, triangles -----------------------------------------------------===//

LogicalResult IotaOp::verify() {
  int64_t axis = getAxis(), rank = cast<RankedTensorType>(getType()).getRank();
  if (axis < 0 || axis >= rank) // (C1)
    return emitOpError() << "expected axis in [0, " << rank << "), but got " << axis;
  return success();
}

LogicalResult TriluOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                        SmallVectorImpl<Type> &types) {
  if (rankOf(adaptor.getInput()) < 2) // (C1)
    return emitOptionalError(loc, "expected a rank of at least 2, but got ", adaptor.getInput().getType());
  types.push_back(adaptor.getInput().getType());
  return success();
}

LogicalResult TriluOp::verify() { return success(); }
