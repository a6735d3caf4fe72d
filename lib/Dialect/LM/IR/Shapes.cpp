// Between tensor types and symbolic dimensions.
#include "llmopt/Dialect/LM/IR/Shapes.h"

#include "mlir/IR/Matchers.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt::lm;

static constexpr int64_t kMaxSymbolicElements = 4096;

static SymExpr parseOrUnknown(StringAttr text) {
  std::optional<SymExpr> expr = SymExpr::parse(text.getValue());
  return expr ? *expr : SymExpr::unknown();
}

SmallVector<SymExpr> llmopt::lm::getDims(Type type) {
  SmallVector<SymExpr> dims;
  auto ranked = dyn_cast<RankedTensorType>(type);
  if (!ranked)
    return dims;
  auto encoding = dyn_cast_or_null<DimsAttr>(ranked.getEncoding());
  for (auto [i, size] : llvm::enumerate(ranked.getShape())) {
    if (!ShapedType::isDynamic(size))
      dims.push_back(size);
    else
      dims.push_back(encoding ? parseOrUnknown(encoding.getExprs()[i]) : SymExpr::unknown());
  }
  return dims;
}

SmallVector<SymExpr> llmopt::lm::getDims(Value value) { return getDims(value.getType()); }

SymExpr llmopt::lm::getNumElements(Type type) { return product(getDims(type)); }

RankedTensorType llmopt::lm::getTensorType(ArrayRef<SymExpr> dims, Type elementType) {
  MLIRContext *context = elementType.getContext();
  SmallVector<int64_t> shape;
  SmallVector<StringAttr> exprs;
  bool dynamic = false;
  for (const SymExpr &dim : dims) {
    std::optional<int64_t> constant = dim.getConstant();
    shape.push_back(constant.value_or(ShapedType::kDynamic));
    dynamic |= !constant;
    exprs.push_back(StringAttr::get(context, dim.str()));
  }
  return RankedTensorType::get(shape, elementType, dynamic ? DimsAttr::get(context, exprs) : Attribute());
}

RankedTensorType llmopt::lm::withElementType(Type type, Type elementType) {
  auto ranked = cast<RankedTensorType>(type);
  return RankedTensorType::get(ranked.getShape(), elementType, ranked.getEncoding());
}

FailureOr<SmallVector<SymExpr>> llmopt::lm::broadcastDims(ArrayRef<SymExpr> a, ArrayRef<SymExpr> b) {
  if (a.size() < b.size())
    std::swap(a, b);
  SmallVector<SymExpr> dims(a);
  size_t offset = a.size() - b.size();
  for (auto [i, other] : llvm::enumerate(b)) {
    SymExpr &dim = dims[offset + i];
    std::optional<int64_t> ca = dim.getConstant(), cb = other.getConstant();
    if (dim == other || cb == 1)
      continue;
    if (ca == 1)
      dim = other;
    else if (ca && cb)
      return failure();
    else if (cb)
      dim = other;
    else if (!ca)
      dim = SymExpr::max(dim, other);
  }
  return dims;
}

std::optional<SmallVector<SymExpr>> llmopt::lm::getSymbolicValue(Attribute attr) {
  if (auto sym = dyn_cast_or_null<SymValuesAttr>(attr))
    return getExprs(sym);
  auto dense = dyn_cast_or_null<DenseIntElementsAttr>(attr);
  if (!dense || dense.getNumElements() > kMaxSymbolicElements)
    return std::nullopt;
  SmallVector<SymExpr> values;
  bool isUnsigned = dense.getElementType().isUnsignedInteger() || dense.getElementType().isInteger(1);
  for (const APInt &value : dense.getValues<APInt>()) {
    if (isUnsigned && value.getActiveBits() > 63)
      return std::nullopt;
    values.push_back(isUnsigned ? static_cast<int64_t>(value.getZExtValue()) : value.getSExtValue());
  }
  return values;
}

std::optional<SmallVector<SymExpr>> llmopt::lm::getSymbolicValue(Value value) {
  Attribute attr;
  if (!value || !matchPattern(value, m_Constant(&attr)))
    return std::nullopt;
  return getSymbolicValue(attr);
}

TypedAttr llmopt::lm::getSymbolicAttr(RankedTensorType type, ArrayRef<SymExpr> values) {
  SmallVector<APInt> constants;
  SmallVector<StringAttr> exprs;
  unsigned width = type.getElementTypeBitWidth();
  for (const SymExpr &value : values) {
    if (std::optional<int64_t> constant = value.getConstant())
      constants.push_back(APInt(width, *constant, /*isSigned=*/true, /*implicitTrunc=*/true));
    exprs.push_back(StringAttr::get(type.getContext(), value.str()));
  }
  if (constants.size() == values.size())
    return DenseElementsAttr::get(type, constants);
  return SymValuesAttr::get(type.getContext(), type, exprs);
}

SymValuesAttr llmopt::lm::getSymValues(MLIRContext *context, ArrayRef<SymExpr> values) {
  SmallVector<StringAttr> exprs;
  for (const SymExpr &value : values)
    exprs.push_back(StringAttr::get(context, value.str()));
  auto type = RankedTensorType::get({static_cast<int64_t>(values.size())}, IntegerType::get(context, 64));
  return SymValuesAttr::get(context, type, exprs);
}

SmallVector<SymExpr> llmopt::lm::getExprs(SymValuesAttr attr) {
  SmallVector<SymExpr> values;
  for (StringAttr expr : attr.getExprs())
    values.push_back(parseOrUnknown(expr));
  return values;
}

LogicalResult llmopt::lm::verifyInference(Operation *op) {
  SmallVector<Type> types;
  return cast<InferTypeOpInterface>(op).inferReturnTypes(op->getContext(), op->getLoc(), op->getOperands(),
                                                         op->getRawDictionaryAttrs(), op->getPropertiesStorage(),
                                                         op->getRegions(), types);
}

bool llmopt::lm::areCompatibleTypes(TypeRange lhs, TypeRange rhs) {
  if (lhs.size() != rhs.size())
    return false;
  for (auto [l, r] : llvm::zip(lhs, rhs)) {
    auto a = dyn_cast<RankedTensorType>(l), b = dyn_cast<RankedTensorType>(r);
    if (!a || !b || a.getElementType() != b.getElementType() || failed(verifyCompatibleShape(a, b)))
      return false;
  }
  return true;
}
