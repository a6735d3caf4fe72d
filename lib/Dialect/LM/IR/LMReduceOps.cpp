// Result types of reductions, scans and softmax.
#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;

namespace {

/// The dimensions that remain after reducing `axes` of `input`.
FailureOr<SmallVector<SymExpr>> reduceDims(std::optional<Location> loc, Value input, ArrayRef<int64_t> axes,
                                           bool keepdims) {
  SmallVector<SymExpr> dims = getDims(input), result;
  SmallVector<bool> reduced(dims.size());
  for (int64_t axis : axes) {
    if (axis < 0 || axis >= static_cast<int64_t>(dims.size()) || reduced[axis])
      return emitOptionalError(loc, "expected distinct axes in [0, ", dims.size(), "), but got ", axis);
    reduced[axis] = true;
  }
  for (auto [i, dim] : llvm::enumerate(dims)) {
    if (!reduced[i])
      result.push_back(dim);
    else if (keepdims)
      result.push_back(1);
  }
  return result;
}

LogicalResult checkAxis(std::optional<Location> loc, Value input, int64_t axis) {
  int64_t rank = cast<RankedTensorType>(input.getType()).getRank();
  if (axis < 0 || axis >= rank)
    return emitOptionalError(loc, "expected axis in [0, ", rank, "), but got ", axis);
  return success();
}

} // namespace

LogicalResult ReduceOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                         SmallVectorImpl<Type> &types) {
  FailureOr<SmallVector<SymExpr>> dims =
      reduceDims(loc, adaptor.getInput(), adaptor.getAxes(), adaptor.getKeepdims()); // (C1)
  if (failed(dims))
    return failure();
  types.push_back(getTensorType(*dims, getElementTypeOrSelf(adaptor.getInput())));
  return success();
}

LogicalResult ReduceOp::verify() { return success(); }

LogicalResult ArgReduceOp::inferReturnTypes(MLIRContext *context, std::optional<Location> loc, Adaptor adaptor,
                                            SmallVectorImpl<Type> &types) {
  FailureOr<SmallVector<SymExpr>> dims =
      reduceDims(loc, adaptor.getInput(), {static_cast<int64_t>(adaptor.getAxis())}, adaptor.getKeepdims()); // (C1)
  if (failed(dims))
    return failure();
  types.push_back(getTensorType(*dims, IntegerType::get(context, 64)));
  return success();
}

LogicalResult ArgReduceOp::verify() { return success(); }

LogicalResult CumSumOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                         SmallVectorImpl<Type> &types) {
  if (failed(checkAxis(loc, adaptor.getInput(), adaptor.getAxis()))) // (C1)
    return failure();
  types.push_back(adaptor.getInput().getType());
  return success();
}

LogicalResult CumSumOp::verify() { return success(); }

LogicalResult SoftmaxOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                          SmallVectorImpl<Type> &types) {
  if (failed(checkAxis(loc, adaptor.getInput(), adaptor.getAxis()))) // (C1)
    return failure();
  types.push_back(adaptor.getInput().getType());
  return success();
}

LogicalResult SoftmaxOp::verify() { return success(); }
