// Result types and constraints of matrix products and convolution.
#include "llmopt/Dialect/LM/IR/LM.h"
#include "llmopt/Dialect/LM/IR/ShapeChecks.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;

LogicalResult MatMulOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                         SmallVectorImpl<Type> &types) {
  Value lhs = adaptor.getLhs(), rhs = adaptor.getRhs();
  SmallVector<SymExpr> a = getDims(lhs), b = getDims(rhs);
  if (a.empty() || b.empty() || getElementTypeOrSelf(lhs) != getElementTypeOrSelf(rhs)) // (C2)
    return emitOptionalError(loc, "expected operands of rank 1 or more and one element type, but got ", lhs.getType(),
                             " and ", rhs.getType());
  bool row = a.size() == 1, column = b.size() == 1;
  if (row)
    a.insert(a.begin(), 1);
  if (column)
    b.push_back(1);
  if (mayDiffer(a.back(), b[b.size() - 2])) // (C1)
    return emitOptionalError(loc, "expected equal contracted dimensions, but got ", a.back().str(), " and ",
                             b[b.size() - 2].str());
  FailureOr<SmallVector<SymExpr>> dims = broadcastDims(ArrayRef(a).drop_back(2), ArrayRef(b).drop_back(2));
  if (failed(dims))
    return emitOptionalError(loc, "expected leading dimensions that broadcast, but got ", lhs.getType(), " and ",
                             rhs.getType());
  if (!row)
    dims->push_back(a[a.size() - 2]);
  if (!column)
    dims->push_back(b.back());
  types.push_back(getTensorType(*dims, getElementTypeOrSelf(lhs)));
  return success();
}

LogicalResult MatMulOp::verify() { return success(); }

LogicalResult LinearOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                         SmallVectorImpl<Type> &types) {
  SmallVector<SymExpr> dims = getDims(adaptor.getInput()), weight = getDims(adaptor.getWeight());
  if (weight.size() != 2 || dims.empty()) // (C1)
    return emitOptionalError(loc, "expected a weight of rank 2, but got ", adaptor.getWeight().getType());
  bool transposed = adaptor.getTransposeWeight();
  if (mayDiffer(dims.back(), weight[transposed ? 1 : 0])) // (C1)
    return emitOptionalError(loc, "expected a weight for ", dims.back().str(), " inputs, but got ",
                             adaptor.getWeight().getType());
  dims.back() = weight[transposed ? 0 : 1];
  types.push_back(getTensorType(dims, getElementTypeOrSelf(adaptor.getInput())));
  return success();
}

/// Whether all of `values` that are present have the element type of the first.
static bool haveOneElementType(ValueRange values) {
  return llvm::all_of(values,
                      [&](Value value) { return getElementTypeOrSelf(value) == getElementTypeOrSelf(values.front()); });
}

LogicalResult LinearOp::verify() {
  if (failed(verifyInference(*this)))
    return failure();
  if (!haveOneElementType(getOperands())) // (C3)
    return emitOpError() << "expected operands of one element type, but got " << getOperandTypes();
  if (!getBias())
    return success();
  SmallVector<SymExpr> bias = getDims(getBias());
  SymExpr width = getDims(getWeight())[getTransposeWeight() ? 0 : 1];
  if (bias.size() != 1 || mayDiffer(bias.front(), width)) // (C2)
    return emitOpError() << "expected a bias of " << width.str() << " elements, but got " << getBias().getType();
  return success();
}

LogicalResult ConvOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, Adaptor adaptor,
                                       SmallVectorImpl<Type> &types) {
  SmallVector<SymExpr> input = getDims(adaptor.getInput()), weight = getDims(adaptor.getWeight());
  ArrayRef<int64_t> strides = adaptor.getStrides(), pads = adaptor.getPads(), dilations = adaptor.getDilations();
  int64_t groups = adaptor.getGroups(), spatial = static_cast<int64_t>(input.size()) - 2;
  if (spatial < 1 || weight.size() != input.size() || static_cast<int64_t>(strides.size()) != spatial ||
      static_cast<int64_t>(dilations.size()) != spatial || static_cast<int64_t>(pads.size()) != 2 * spatial) // (C1)
    return emitOptionalError(loc, "expected strides, dilations and pads for ", spatial, " spatial dimensions of ",
                             adaptor.getInput().getType(), " and ", adaptor.getWeight().getType());
  for (int64_t i = 0; i < spatial; ++i)
    if (strides[i] < 1 || dilations[i] < 1 || pads[i] < 0 || pads[spatial + i] < 0 ||
        std::max({strides[i], dilations[i], pads[i], pads[spatial + i]}) > INT32_MAX) // (C1)
      return emitOptionalError(loc, "expected positive strides and dilations and no negative pads, below 2^31");
  std::optional<int64_t> outputs = weight[0].getConstant();
  if (groups < 1 || mayDiffer(input[1], weight[1] * SymExpr(groups)) || (outputs && *outputs % groups != 0)) // (C2)
    return emitOptionalError(loc, "expected channels that fit ", groups, " groups, but got ",
                             adaptor.getInput().getType(), " and ", adaptor.getWeight().getType());
  SmallVector<SymExpr> dims = {input[0], weight[0]};
  for (int64_t i = 0; i < spatial; ++i) {
    SymExpr reach = SymExpr(dilations[i]) * (weight[2 + i] - SymExpr(1)) + SymExpr(1);
    SymExpr padded = input[2 + i] + SymExpr(pads[i]) + SymExpr(pads[spatial + i]);
    dims.push_back(SymExpr::floorDiv(padded - reach, strides[i]) + SymExpr(1));
  }
  types.push_back(getTensorType(dims, getElementTypeOrSelf(adaptor.getInput())));
  return success();
}

LogicalResult ConvOp::verify() {
  if (failed(verifyInference(*this)))
    return failure();
  if (!haveOneElementType(getOperands())) // (C3)
    return emitOpError() << "expected operands of one element type, but got " << getOperandTypes();
  if (getBias() && (getDims(getBias()).size() != 1 || mayDiffer(getDims(getBias())[0], getDims(getWeight())[0])))
    return emitOpError() << "expected one bias per output channel, but got " << getBias().getType();
  return success();
}
