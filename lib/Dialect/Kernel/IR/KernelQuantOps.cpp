// Constraints of the operations whose weights stay quantized.
#include "KernelChecks.h"

#include "llmopt/Dialect/LM/IR/ShapeChecks.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::kernel;
using lm::getDims;
using lm::mayDiffer;
using lm::SymExpr;

int64_t kernel::getGroupBlockBytes(int64_t width, int64_t group, bool zeroPoints) {
  return width * (group / 2 + (zeroPoints ? 8 : 4));
}

static RankedTensorType getGroupsType(MLIRContext *context, int64_t n, int64_t groups, int64_t group, int64_t width,
                                      bool zeroPoints) {
  return RankedTensorType::get(
      {int64_t(llvm::divideCeil(n, width)), groups, getGroupBlockBytes(width, group, zeroPoints)},
      IntegerType::get(context, 8));
}

int64_t kernel::getGroupRowsBytes(int64_t n, int64_t k, int64_t group, bool zeroPoints, bool halfScales) {
  auto align = [](int64_t bytes) { return llvm::alignTo(bytes, 16); };
  int64_t groups = k / group;
  return align(n * k / 2) + align(n * groups * (halfScales ? 2 : 4)) + (zeroPoints ? align(n * ((groups + 1) / 2)) : 0);
}

/// What pack_groups gives for a [k, n] weight; `width` is that of panels.
static RankedTensorType getPackedGroupsType(MLIRContext *context, int64_t n, int64_t groups, int64_t group,
                                            int64_t width, bool zeroPoints, Layout layout, bool halfScales) {
  if (layout == Layout::Rows)
    return RankedTensorType::get({getGroupRowsBytes(n, groups * group, group, zeroPoints, halfScales)},
                                 IntegerType::get(context, 8));
  return getGroupsType(context, n, groups, group, width, zeroPoints);
}

void PackGroupsOp::build(OpBuilder &builder, OperationState &state, Value input, Value scale, Value zeroPoint,
                         Layout layout, int64_t width) {
  auto q = cast<RankedTensorType>(input.getType());
  build(builder, state,
        getPackedGroupsType(builder.getContext(), q.getDimSize(2), q.getDimSize(0), q.getDimSize(1), width,
                            bool(zeroPoint), layout, getElementTypeOrSelf(scale).isF16()),
        input, scale, zeroPoint, width, layout);
}

LogicalResult PackGroupsOp::verify() {
  auto q = cast<RankedTensorType>(getInput().getType());
  if (q.getRank() != 3 || !q.hasStaticShape() || q.getElementTypeBitWidth() != 4 || q.getDimSize(1) < 32 ||
      q.getDimSize(1) % 32 != 0) // (C1)
    return emitOpError() << "expected static 4-bit integers [K/G, G, N], G a multiple of 32, but got " << q;
  SmallVector<int64_t> perGroup{q.getDimSize(0), 1, q.getDimSize(2)};
  auto scale = cast<RankedTensorType>(getScale().getType());
  const bool isRows = getLayout() == Layout::Rows, halfScales = isRows && scale.getElementType().isF16();
  if ((!scale.getElementType().isF32() && !halfScales) || scale.getShape() != ArrayRef(perGroup)) // (C2)
    return emitOpError() << "expected one f32 scale for each group and column of " << q << ", but got " << scale;
  if (getZeroPoint() && getZeroPoint().getType() != RankedTensorType::get(perGroup, q.getElementType()))
    return emitOpError() << "expected one zero point for each group and column of " << q << ", but got "
                         << getZeroPoint().getType();
  if (getWidth() < 1 || (isRows ? getWidth() != 1 : getLayout() != Layout::Panels)) // (C3)
    return emitOpError() << "expected panels of a positive width or rows of width 1, but got "
                         << stringifyLayout(getLayout()) << " of " << getWidth();
  Type expected = getPackedGroupsType(getContext(), perGroup[2], perGroup[0], q.getDimSize(1), getWidth(),
                                      bool(getZeroPoint()), getLayout(), halfScales);
  if (getResult().getType() != expected)
    return emitOpError() << "expected the result " << expected << ", but got " << getResult().getType();
  return success();
}

/// The width of the panels of `weight`, if pack_groups makes it of such a matrix.
static std::optional<int64_t> getGroupsWidth(Type weight, int64_t n, int64_t k, int64_t group, bool zeroPoints) {
  auto type = cast<RankedTensorType>(weight);
  int64_t perColumn = getGroupBlockBytes(1, group, zeroPoints);
  if (type.getRank() != 3 || !type.hasStaticShape() || type.getDimSize(2) < perColumn)
    return std::nullopt;
  int64_t width = type.getDimSize(2) / perColumn;
  if (type != getGroupsType(weight.getContext(), n, k / group, group, width, zeroPoints))
    return std::nullopt;
  return width;
}

/// What both products ask of their result, bias and residual.
static LogicalResult verifyEpilogue(Operation *op, Value result, Value bias, Value residual, int64_t n) {
  SmallVector<SymExpr> out = getDims(result);
  if (out.empty() || mayDiffer(out.back(), n))
    return op->emitOpError() << "expected a last dimension of " << n << ", but got " << result.getType();
  if (!isVector(bias, n))
    return op->emitOpError() << "expected a bias of " << n << " elements, but got " << bias.getType();
  if (residual && !lm::areCompatibleTypes(residual.getType(), result.getType()))
    return op->emitOpError() << "expected the residual " << result.getType() << ", but got " << residual.getType();
  return success();
}

static LogicalResult verifyGroups(Operation *op, Type weight, int64_t n, int64_t k, int64_t group, bool zeroPoints,
                                  int64_t offset, Layout layout, bool halfScales) {
  if (n < 1 || k < 1 || group < 32 || group % 32 != 0 || k % group != 0)
    return op->emitOpError() << "expected a group that is a multiple of 32 and divides k, but got n = " << n
                             << ", k = " << k << " and group = " << group;
  if (offset != 0 && offset != 8)
    return op->emitOpError() << "expected an offset of 0 or 8, but got " << offset;
  const bool fits = layout == Layout::Rows     ? weight == getPackedGroupsType(op->getContext(), n, k / group, group, 1,
                                                                               zeroPoints, layout, halfScales)
                    : layout == Layout::Panels ? !halfScales && getGroupsWidth(weight, n, k, group, zeroPoints)
                                               : false;
  if (!fits)
    return op->emitOpError() << "expected a weight of k = " << k << " and n = " << n << " packed in groups of " << group
                             << ", but got " << weight;
  return success();
}

LogicalResult GemmW4A8Op::verify() {
  int64_t n = getN(), k = getK(), group = getGroup();
  if (k > 131071) // (C5)
    return emitOpError() << "expected k <= 131071, but got " << k;
  if (failed(verifyGroups(*this, getWeight().getType(), n, k, group, getZeroPoints(), getOffset(), getLayout(),
                          /*halfScales=*/false)) ||                            // (C1)
      failed(verifyEpilogue(*this, getResult(), getBias(), getResidual(), n))) // (C4)
    return failure();
  SmallVector<SymExpr> out = getDims(getResult());
  if (!getElementTypeOrSelf(getInput()).isSignlessInteger(8) || !haveRowsOf(getInput(), out, k)) // (C2)
    return emitOpError() << "expected i8 rows of " << k << " elements, but got " << getInput().getType() << " for "
                         << getResult().getType();
  if (!haveRowsOf(getInputScale(), out, k / group) && !haveRowsOf(getInputScale(), out, 1)) // (C3)
    return emitOpError() << "expected " << k / group << " scales or one for each row of " << getResult().getType()
                         << ", but got " << getInputScale().getType();
  return success();
}

LogicalResult GemmWQOp::verify() {
  int64_t n = getN(), k = getK(), group = getGroup();
  auto weight = cast<RankedTensorType>(getWeight().getType());
  if (group) {
    if (failed(verifyGroups(*this, weight, n, k, group, getZeroPoints(), getOffset(), getLayout(),
                            getHalfScales()))) // (C1)
      return failure();
  } else if (!isPackedMatrix(weight, k, n, getLayout()) || !weight.getElementType().isSignlessInteger(8) ||
             getPackedGroup(getLayout()) != 1 || getHalfScales()) {
    return emitOpError() << "expected a packed i8 weight of k = " << k << " and n = " << n << ", but got " << weight;
  }
  if (bool(getWeightScale()) != (group == 0) || !isVector(getWeightScale(), n)) // (C2)
    return emitOpError() << "expected " << n << " scales exactly where group is 0";
  if (failed(verifyEpilogue(*this, getResult(), getBias(), getResidual(), n))) // (C4)
    return failure();
  if (!haveRowsOf(getInput(), getDims(getResult()), k)) // (C3)
    return emitOpError() << "expected rows of " << k << " elements, but got " << getInput().getType() << " for "
                         << getResult().getType();
  return success();
}

LogicalResult QuantizeTensorOp::verify() {
  SmallVector<SymExpr> dims = getDims(getInput());
  Type element = getElementTypeOrSelf(getInput());
  if (!(element.isF32() || element.isF16() || element.isBF16()) || dims.empty() || !dims.back().getConstant()) // (C1)
    return emitOpError() << "expected f32, f16 or bf16 rows of known width, but got " << getInput().getType();
  if (!getElementTypeOrSelf(getResult()).isSignlessInteger(8) || !haveRowsOf(getResult(), dims, dims.back())) // (C2)
    return emitOpError() << "expected an i8 result of the shape of " << getInput().getType() << ", but got "
                         << getResult().getType();
  if (!isOne(getScale()) || !getElementTypeOrSelf(getScale()).isF32()) // (C3)
    return emitOpError() << "expected one f32 scale, but got " << getScale().getType();
  if (Value zero = getZeroPoint(); zero && (!isOne(zero) || !getElementTypeOrSelf(zero).isSignlessInteger(8)))
    return emitOpError() << "expected one i8 as zero point, but got " << zero.getType();
  return success();
}

void ColumnSumsOp::build(OpBuilder &builder, OperationState &state, Value input) {
  int64_t n = cast<RankedTensorType>(input.getType()).getDimSize(1);
  build(builder, state, RankedTensorType::get({n}, builder.getI32Type()), input);
}

LogicalResult ColumnSumsOp::verify() {
  auto type = cast<RankedTensorType>(getInput().getType());
  if (type.getRank() != 2 || !type.hasStaticShape() || !type.getElementType().isSignlessInteger(8)) // (C1)
    return emitOpError() << "expected a static i8 matrix, but got " << type;
  auto expected = RankedTensorType::get({type.getDimSize(1)}, IntegerType::get(getContext(), 32));
  if (getResult().getType() != expected) // (C2)
    return emitOpError() << "expected the result " << expected << ", but got " << getResult().getType();
  return success();
}

/// (C1) to (C3) of norms that quantize what they give.
template <typename Norm> static LogicalResult verifyQuantizedNorm(Norm op) {
  SmallVector<SymExpr> dims = getDims(op.getInput());
  Type element = getElementTypeOrSelf(op.getInput());
  if (!(element.isF32() || element.isF16() || element.isBF16()) || dims.empty() || !dims.back().getConstant()) // (C2)
    return op.emitOpError() << "expected f32, f16 or bf16 rows of known width, but got " << op.getInput().getType();
  if (op.getResidual() && !lm::areCompatibleTypes(op.getResidual().getType(), op.getInput().getType())) // (C1)
    return op.emitOpError() << "expected the residual " << op.getInput().getType() << ", but got "
                            << op.getResidual().getType();
  for (Value vector : {Value(op.getInputBias()), Value(op.getScale()), Value(op.getBias())})
    if (!isVector(vector, dims.back()))
      return op.emitOpError() << "expected " << dims.back().str() << " elements, but got " << vector.getType();
  for (Value value : {Value(op.getResult()), Value(op.getSum())})
    if (value && !lm::areCompatibleTypes(value.getType(), op.getInput().getType()))
      return op.emitOpError() << "expected the result " << op.getInput().getType() << ", but got " << value.getType();
  Type quantized = getElementTypeOrSelf(op.getQuantized());
  if ((!quantized.isSignlessInteger(8) && !isa<Float8E4M3FNType>(quantized)) ||
      !haveRowsOf(op.getQuantized(), dims, dims.back())) // (C3)
    return op.emitOpError() << "expected an i8 or f8E4M3FN result of the shape of " << op.getInput().getType()
                            << ", but got " << op.getQuantized().getType();
  return success();
}

LogicalResult NormQuantizedTensorOp::verify() {
  if (failed(verifyQuantizedNorm(*this)))
    return failure();
  if (!isOne(getTensorScale()) || !getElementTypeOrSelf(getTensorScale()).isF32()) // (C4)
    return emitOpError() << "expected one f32 scale, but got " << getTensorScale().getType();
  if (Value zero = getTensorZeroPoint(); zero && (!isOne(zero) || !getElementTypeOrSelf(zero).isSignlessInteger(8)))
    return emitOpError() << "expected one i8 zero point, but got " << zero.getType();
  return success();
}

LogicalResult NormQuantizedOp::verify() {
  if (failed(verifyQuantizedNorm(*this)))
    return failure();
  SmallVector<SymExpr> dims = getDims(getInput());
  SmallVector<SymExpr> scale = getDims(getQuantizedScale());
  std::optional<int64_t> groups = scale.empty() ? std::nullopt : scale.back().getConstant();
  if (!getElementTypeOrSelf(getQuantizedScale()).isF32() || !groups || *groups < 1 ||
      *dims.back().getConstant() % *groups != 0 || !haveRowsOf(getQuantizedScale(), dims, *groups) || // (C4)
      (*groups != 1 && !getElementTypeOrSelf(getQuantized()).isSignlessInteger(8)))
    return emitOpError() << "expected one f32 scale for each row of " << getInput().getType()
                         << " or for equal parts of it, but got " << getQuantizedScale().getType();
  return success();
}
