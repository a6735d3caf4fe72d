// Result type and fold of sliding windows.
#include "FoldSupport.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;

LogicalResult WindowsOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                          SmallVectorImpl<Type> &types) {
  SmallVector<SymExpr> dims = getDims(adaptor.getInput());
  ArrayRef<int64_t> axes = adaptor.getAxes(), sizes = adaptor.getSizes(), strides = adaptor.getStrides(),
                    dilations = adaptor.getDilations();
  if (sizes.size() != axes.size() || strides.size() != axes.size() || dilations.size() != axes.size()) // (C2)
    return emitOptionalError(loc, "expected one size, stride and dilation per axis");
  SmallVector<bool> seen(dims.size());
  for (auto [axis, size, stride, dilation] : llvm::zip(axes, sizes, strides, dilations)) {
    if (axis < 0 || axis >= static_cast<int64_t>(dims.size()) || seen[axis]) // (C1)
      return emitOptionalError(loc, "expected distinct axes in [0, ", seen.size(), "), but got ", axis);
    seen[axis] = true;
    if (std::min({size, stride, dilation}) < 1 || std::max({size, stride, dilation}) > INT32_MAX) // (C2)
      return emitOptionalError(loc, "expected positive sizes, strides and dilations below 2^31");
    int64_t reach = (size - 1) * dilation + 1;
    std::optional<int64_t> known = dims[axis].getConstant();
    if (known && *known < reach) // (C3)
      return emitOptionalError(loc, "expected at least ", reach, " elements for a window, but got ", *known);
    dims[axis] = SymExpr::floorDiv(dims[axis] - SymExpr(reach), stride) + SymExpr(1);
  }
  for (int64_t size : sizes)
    dims.push_back(size);
  types.push_back(getTensorType(dims, getElementTypeOrSelf(adaptor.getInput())));
  return success();
}

OpFoldResult WindowsOp::fold(FoldAdaptor adaptor) { return foldConstant(*this, adaptor.getOperands()); }
