// Small questions about values that several matchers ask.
#include "llmopt/Transforms/Matching.h"

#include "llmopt/Dialect/LM/IR/WeightStore.h"

#include "mlir/IR/TypeUtilities.h"

#include <cmath>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

static std::optional<double> getSplat(Attribute attr) {
  auto dense = dyn_cast_or_null<DenseElementsAttr>(attr);
  if (!dense || dense.empty() || !dense.isSplat())
    return std::nullopt;
  if (auto floats = dyn_cast<DenseFPElementsAttr>(dense)) {
    APFloat value = floats.getSplatValue<APFloat>();
    bool lost = false;
    value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
    return value.convertToDouble();
  }
  if (auto ints = dyn_cast<DenseIntElementsAttr>(dense)) {
    APInt value = ints.getSplatValue<APInt>();
    Type type = dense.getElementType();
    return type.isUnsignedInteger() || type.isInteger(1) ? value.roundToDouble(false) : value.roundToDouble(true);
  }
  return std::nullopt;
}

/// The contents of a weight as elements: a weight in a file only if it has one.
static Attribute getWeightValue(WeightOp weight) {
  auto type = cast<RankedTensorType>(weight.getType());
  if (!isa<FileAttr>(weight.getSource()) || type.getNumElements() != 1 || !type.getElementType().isIntOrFloat() ||
      type.getElementTypeBitWidth() < 8)
    return weight.getSource();
  llvm::Expected<ArrayRef<char>> bytes = WeightStore::get(weight.getContext()).getBytes(weight);
  if (!bytes) {
    llvm::consumeError(bytes.takeError()); // reported where the weight is needed
    return {};
  }
  return DenseElementsAttr::getFromRawBuffer(type, *bytes);
}

std::optional<double> llmopt::getScalar(Value value) {
  for (int depth = 0; depth < 8; ++depth) {
    Operation *op = value.getDefiningOp();
    if (!op)
      return std::nullopt;
    if (auto constant = dyn_cast<ConstantOp>(op))
      return getSplat(constant.getValue());
    if (auto weight = dyn_cast<WeightOp>(op))
      return getSplat(getWeightValue(weight));
    if (!isa<ReshapeOp, BroadcastOp>(op) && !(isFloatCast(op) && stripExactCasts(value) != value))
      return std::nullopt;
    value = op->getOperand(0);
  }
  return std::nullopt;
}

std::optional<double> llmopt::getScalar(Value value, Value along) {
  auto type = dyn_cast<RankedTensorType>(value.getType()), other = dyn_cast<RankedTensorType>(along.getType());
  if (!type || !other || type.getRank() > other.getRank())
    return std::nullopt;
  SmallVector<SymExpr> dims = getDims(type), alongDims = getDims(other);
  for (size_t i = 0; i < dims.size(); ++i)
    if (!dims[i].isConstant(1) && dims[i] != alongDims[alongDims.size() - dims.size() + i])
      return std::nullopt;
  return getScalar(value);
}

Value llmopt::createScalar(OpBuilder &builder, Location loc, Type elementType, double value) {
  auto type = RankedTensorType::get({}, elementType);
  APFloat number(value);
  bool lost = false;
  number.convert(cast<FloatType>(elementType).getFloatSemantics(), APFloat::rmNearestTiesToEven, &lost);
  return ConstantOp::create(builder, loc, type, cast<TypedAttr>(Attribute(DenseElementsAttr::get(type, number))));
}

bool llmopt::isNear(double value, double expected, Type elementType) {
  // 0.7071 for 1/sqrt(2) is off by 9.5e-6 and common in the wild; narrower
  // types round to nearest, which is off by half an epsilon at most.
  auto type = dyn_cast<FloatType>(getElementTypeOrSelf(elementType));
  double epsilon = type ? std::ldexp(1.0, -static_cast<int>(type.getFPMantissaWidth())) : 0;
  return std::fabs(value - expected) <= std::fabs(expected) * std::max(1e-5, epsilon);
}

bool llmopt::isFloatCast(Operation *op) {
  auto cast = dyn_cast_or_null<CastOp>(op);
  return cast && isa<FloatType>(getElementTypeOrSelf(cast.getInput().getType())) &&
         isa<FloatType>(getElementTypeOrSelf(cast.getType()));
}

static bool isExactCast(Type from, Type to) {
  return APFloat::isRepresentableBy(cast<FloatType>(getElementTypeOrSelf(from)).getFloatSemantics(),
                                    cast<FloatType>(getElementTypeOrSelf(to)).getFloatSemantics());
}

Value llmopt::castTo(OpBuilder &builder, Location loc, Value value, Type elementType) {
  if (getElementTypeOrSelf(value.getType()) == elementType)
    return value;
  return CastOp::create(builder, loc, withElementType(value.getType(), elementType), value);
}

Value llmopt::castIfWider(OpBuilder &builder, Location loc, Value value, Type elementType) {
  return isExactCast(value.getType(), elementType) ? castTo(builder, loc, value, elementType) : value;
}

Value llmopt::stripExactCasts(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (!isFloatCast(op) || !isExactCast(op->getOperand(0).getType(), value.getType()))
      break;
    value = op->getOperand(0);
  }
  return value;
}

bool llmopt::isWeightDerived(Value value) {
  SmallVector<Value> work{value};
  llvm::SmallPtrSet<Operation *, 8> seen;
  bool hasWeight = false;
  while (!work.empty()) {
    Operation *op = work.pop_back_val().getDefiningOp();
    if (!op || seen.size() > 32)
      return false;
    if (!seen.insert(op).second)
      continue;
    if (isa<WeightOp, ConstantOp>(op)) {
      hasWeight = true;
      continue;
    }
    if (!isa<TransposeOp, ReshapeOp, SliceOp, ConcatOp, CastOp, MulOp, AddOp, DequantizeOp, QuantizeOp, FakeQuantizeOp,
             AbsMaxScaleOp>(op))
      return false;
    llvm::append_range(work, op->getOperands());
  }
  return hasWeight;
}

bool llmopt::isVector(Value value, const SymExpr &size) {
  if (!size.getConstant() || !isa<RankedTensorType>(value.getType()))
    return false;
  SmallVector<SymExpr> dims = getDims(value);
  return !dims.empty() && dims.back() == size &&
         llvm::all_of(ArrayRef(dims).drop_back(), [](const SymExpr &dim) { return dim.isConstant(1); });
}

Value llmopt::getVector(OpBuilder &builder, Value value, const SymExpr &size) {
  if (!isVector(value, size))
    return {};
  if (cast<RankedTensorType>(value.getType()).getRank() == 1)
    return value;
  return ReshapeOp::create(builder, value.getLoc(), getTensorType({size}, getElementTypeOrSelf(value.getType())),
                           value);
}

bool llmopt::haveSameDims(Value a, Value b) {
  SmallVector<SymExpr> dimsA = getDims(a), dimsB = getDims(b);
  return dimsA.size() == dimsB.size() && llvm::equal(dimsA, dimsB);
}

Operation *llmopt::getOnlyUser(Value value) {
  Operation *only = nullptr;
  for (Operation *user : value.getUsers()) {
    if (only && only != user)
      return nullptr;
    only = user;
  }
  return only;
}
