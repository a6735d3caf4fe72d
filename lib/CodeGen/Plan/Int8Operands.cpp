// What products of int8 are made of: weights with one scale or one per column, and
// rows that share a scale and perhaps a zero point. Bytes are stored less 128.
#include "Partition.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::plan;
using lm::getDims;
using lm::SymExpr;

static bool isInt8(Value value) { return getElementTypeOrSelf(value).isSignlessInteger(8); }
static bool isByte(Value value) { return getElementTypeOrSelf(value).isUnsignedInteger(8); }

static bool isOne(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.hasStaticShape() && type.getNumElements() == 1;
}

static DenseElementsAttr getDense(Value value) {
  auto constant = value.getDefiningOp<lm::ConstantOp>();
  return constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
}

/// Whether all elements are `number`, as far as constants say.
static bool isAll(Value value, int64_t number) {
  if (auto concat = value.getDefiningOp<lm::ConcatOp>())
    return llvm::all_of(concat.getInputs(), [&](Value part) { return isAll(part, number); });
  if (auto reshape = value.getDefiningOp<lm::ReshapeOp>())
    return isAll(reshape.getInput(), number);
  auto dense = dyn_cast_or_null<DenseIntElementsAttr>(getDense(value));
  bool isUnsigned = getElementTypeOrSelf(value).isUnsignedInteger();
  return dense && llvm::all_of(dense.getValues<APInt>(), [&](const APInt &element) {
           return (isUnsigned ? static_cast<int64_t>(element.getZExtValue()) : element.getSExtValue()) == number;
         });
}

/// Integers that a kernel may have packed: a recipe, a constant, or several joined.
static bool isStored(Value value) {
  if (auto concat = value.getDefiningOp<lm::ConcatOp>())
    return llvm::all_of(concat.getInputs(), isStored);
  return isRecipe(value) || bool(getDense(value));
}

lm::DequantizeOp plan::matchInt8Weight(Value value, bool transposed) {
  auto dequantize = value.getDefiningOp<lm::DequantizeOp>();
  if (!dequantize)
    return {};
  Value q = dequantize.getInput(), zero = dequantize.getZeroPoint();
  auto scale = cast<RankedTensorType>(dequantize.getScale().getType());
  if ((!isInt8(q) && !isByte(q)) || getDims(q).size() != 2 || !isStored(q) || !scale.getElementType().isF32() ||
      (!isRecipe(dequantize.getScale()) && !getDense(dequantize.getScale())))
    return {};
  if (isByte(q) ? !zero || !isAll(zero, 128) : zero && !isAll(zero, 0))
    return {};
  int64_t n = cast<RankedTensorType>(value.getType()).getDimSize(transposed ? 0 : 1);
  bool perColumn = transposed ? scale.getShape() == ArrayRef<int64_t>{n, 1}
                              : scale.getShape() == ArrayRef<int64_t>{1, n} || scale.getShape() == ArrayRef<int64_t>{n};
  return perColumn || isOne(dequantize.getScale()) ? dequantize : lm::DequantizeOp();
}

/// A name that no weight of the module has.
static std::string getFreeName(Value constant) {
  std::string name = getNodeNames(constant.getLoc());
  if (name.empty())
    name = "int8";
  llvm::StringSet<> taken;
  constant.getDefiningOp()->getParentOfType<ModuleOp>().walk(
      [&](lm::WeightOp weight) { taken.insert(weight.getName()); });
  std::string unique = name;
  for (int i = 1; taken.contains(unique); ++i)
    unique = name + "_" + std::to_string(i);
  return unique;
}

/// A weight of integers that an importer took for a constant, less `offset`.
static Value asWeight(Value value, DenseElementsAttr dense, int64_t offset) {
  SmallVector<int8_t> numbers;
  for (const APInt &element : dense.getValues<APInt>())
    numbers.push_back(
        static_cast<int8_t>((offset ? int64_t(element.getZExtValue()) : element.getSExtValue()) - offset));
  OpBuilder builder(value.getContext());
  builder.setInsertionPointAfterValue(value);
  auto type = RankedTensorType::get(dense.getType().getShape(), builder.getI8Type());
  return lm::WeightOp::create(builder, value.getLoc(), type, builder.getStringAttr(getFreeName(value)),
                              DenseElementsAttr::get(type, ArrayRef<int8_t>(numbers)));
}

/// The integers as an i8 recipe.
static Value asInt8(OpBuilder &builder, Value q) {
  if (auto concat = q.getDefiningOp<lm::ConcatOp>(); concat && !isRecipe(q)) {
    SmallVector<Value> parts;
    for (Value part : concat.getInputs())
      parts.push_back(asInt8(builder, part));
    return lm::ConcatOp::create(builder, q.getLoc(), parts, concat.getAxisAttr());
  }
  if (DenseElementsAttr dense = getDense(q)) {
    Value weight = asWeight(q, dense, isByte(q) ? 128 : 0);
    if (isInt8(q))
      q.replaceUsesWithIf(weight, [](OpOperand &use) { return isa<lm::DequantizeOp>(use.getOwner()); });
    return weight;
  }
  if (isInt8(q))
    return q;
  // (q - 128) 1, exact in f32, as an integer.
  Location loc = q.getLoc();
  auto one = DenseElementsAttr::get(RankedTensorType::get({}, builder.getF32Type()), 1.0f);
  auto zero = DenseElementsAttr::get(RankedTensorType::get({}, getElementTypeOrSelf(q)), APInt(8, 128));
  Value unit = lm::ConstantOp::create(builder, loc, one);
  Value real = lm::DequantizeOp::create(builder, loc, q, unit, lm::ConstantOp::create(builder, loc, zero));
  return lm::QuantizeOp::create(builder, loc, lm::getTensorType(getDims(q), builder.getI8Type()), real, unit, Value(),
                                /*narrow_range=*/false, /*saturate=*/true);
}

Int8Weight plan::getInt8Weight(OpBuilder &builder, lm::DequantizeOp dequantize, bool transposed) {
  Value q = asInt8(builder, dequantize.getInput()), scale = dequantize.getScale();
  Location loc = q.getLoc();
  if (transposed)
    q = lm::TransposeOp::create(builder, loc, q, ArrayRef<int64_t>{1, 0});
  int64_t n = cast<RankedTensorType>(q.getType()).getDimSize(1);
  auto type = RankedTensorType::get({n}, builder.getF32Type());
  if (DenseElementsAttr dense = getDense(scale))
    return {q, lm::ConstantOp::create(builder, loc, dense.isSplat() ? dense.resizeSplat(type) : dense.reshape(type))};
  if (n == 1 || !isOne(scale))
    return {q, lm::ReshapeOp::create(builder, loc, scale, ArrayRef<SymExpr>{n})};
  Value ones = lm::ConstantOp::create(builder, loc, DenseElementsAttr::get(type, 1.0f));
  Value vector = lm::ReshapeOp::create(builder, loc, scale, ArrayRef<SymExpr>{1});
  return {q, lm::MulOp::create(builder, loc, type, ones, vector)};
}

lm::DequantizeOp plan::matchInt8Tensor(Value value) {
  auto dequantize = value.getDefiningOp<lm::DequantizeOp>();
  if (!dequantize || (!isInt8(dequantize.getInput()) && !isByte(dequantize.getInput())))
    return {};
  Value q = dequantize.getInput(), zero = dequantize.getZeroPoint();
  SmallVector<SymExpr> dims = getDims(q);
  if (isStored(q) || !isOne(dequantize.getScale()) || !getElementTypeOrSelf(dequantize.getScale()).isF32() ||
      (zero && !isOne(zero)) || dims.empty() || !dims.back().getConstant())
    return {};
  return dequantize;
}

/// `value` less 128 (128 off a zero point: 0 where there is none), an i8.
static Value shiftDown(OpBuilder &builder, Location loc, Value value, Type byte) {
  Type i8 = builder.getI8Type(), i32 = builder.getI32Type();
  auto scalar = RankedTensorType::get({}, i32);
  if (DenseElementsAttr dense = value ? getDense(value) : DenseElementsAttr(); dense || !value) {
    int64_t number = value ? int64_t((*dense.value_begin<APInt>()).getZExtValue()) : 0;
    auto type = RankedTensorType::get({}, i8);
    return lm::ConstantOp::create(builder, loc, DenseElementsAttr::get(type, static_cast<int8_t>(number - 128)));
  }
  SmallVector<SymExpr> dims = getDims(value);
  Value wide = lm::CastOp::create(builder, loc, lm::getTensorType(dims, i32), value);
  Value offset = lm::ConstantOp::create(builder, loc, DenseElementsAttr::get(scalar, int32_t(128)));
  Value less = lm::SubOp::create(builder, loc, lm::getTensorType(dims, i32), wide, offset);
  return lm::CastOp::create(builder, loc, lm::getTensorType(dims, i8), less);
}

Int8Tensor plan::getInt8Tensor(lm::DequantizeOp dequantize, DenseMap<Value, Value> &made) {
  Value q = dequantize.getInput();
  const bool bytes = isByte(q);
  auto getZero = [&](Value zero, Operation *before) -> Value {
    if (!bytes)
      return zero && isAll(zero, 0) ? Value() : zero;
    if (Value earlier = zero ? made.lookup(zero) : Value())
      return earlier;
    OpBuilder builder(before);
    if (zero)
      builder.setInsertionPointAfterValue(zero);
    Value shifted = shiftDown(builder, before->getLoc(), zero, getElementTypeOrSelf(q));
    if (zero)
      made[zero] = shifted;
    return isAll(shifted, 0) ? Value() : shifted;
  };
  Int8Tensor tensor{made.lookup(q), dequantize.getScale(), getZero(dequantize.getZeroPoint(), dequantize)};
  if (tensor.q)
    return tensor;
  auto quantize = q.getDefiningOp<lm::QuantizeOp>();
  OpBuilder builder(dequantize);
  builder.setInsertionPointAfterValue(q);
  if (quantize && getElementTypeOrSelf(quantize.getInput()).isF32() && isOne(quantize.getScale()) &&
      getElementTypeOrSelf(quantize.getScale()).isF32() &&
      (!quantize.getZeroPoint() || isOne(quantize.getZeroPoint()))) {
    Value zero = getZero(quantize.getZeroPoint(), quantize);
    builder.setInsertionPoint(quantize);
    tensor.q =
        kernel::QuantizeTensorOp::create(builder, quantize.getLoc(), lm::getTensorType(getDims(q), builder.getI8Type()),
                                         quantize.getInput(), quantize.getScale(), zero, quantize.getNarrowRange());
    if (!bytes)
      q.replaceAllUsesWith(tensor.q);
  } else {
    tensor.q = bytes ? shiftDown(builder, q.getLoc(), q, getElementTypeOrSelf(q)) : q;
  }
  made[bytes ? q : tensor.q] = tensor.q;
  return tensor;
}
