// Products with weights that stay quantized: int4 in groups along K, by quantized or
// float activations, and int8 with one scale per column, by float ones. Any other
// form stays as it is and runs as a product of dequantized values.
#include "Partition.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::plan;
using lm::getDims;
using lm::SymExpr;

namespace {
/// An int4 weight as kernel.pack_groups takes it, and what it is made of.
struct GroupedWeight {
  Value q, scale, zeroPoint; // [K/G, G, N], or [N, K/G, G] if transposed
  int64_t n, numGroups, group;
  bool transposed;
  int64_t offset; // what is subtracted from stored nibbles where there is no zeroPoint
  int64_t k() const { return numGroups * group; }
};
} // namespace

static bool isStored(Value value) { return isRecipe(value) || isConstant(value); }

/// The value of a constant of one integer.
static std::optional<int64_t> getOnlyInteger(Value value) {
  auto constant = value ? value.getDefiningOp<lm::ConstantOp>() : lm::ConstantOp();
  auto dense = constant ? dyn_cast<DenseIntElementsAttr>(constant.getValue()) : DenseIntElementsAttr();
  if (!dense || dense.getNumElements() != 1)
    return std::nullopt;
  APInt number = *dense.value_begin<APInt>();
  return getElementTypeOrSelf(value).isUnsignedInteger() ? static_cast<int64_t>(number.getZExtValue())
                                                         : number.getSExtValue();
}

/// reshape_to[K, N]( dequantize(q, scale[, zero_point]) ), [N, K] if `transposed`.
static std::optional<GroupedWeight> matchGroups(Value value, bool transposed) {
  auto reshape = value.getDefiningOp<lm::ReshapeOp>();
  auto dequantize = reshape ? reshape.getInput().getDefiningOp<lm::DequantizeOp>() : lm::DequantizeOp();
  if (!dequantize)
    return std::nullopt;
  GroupedWeight weight{dequantize.getInput(), dequantize.getScale(), dequantize.getZeroPoint(), 0, 0, 0, transposed, 0};
  auto q = cast<RankedTensorType>(weight.q.getType());
  if (q.getRank() != 3 || !q.hasStaticShape() || !q.getElementType().isInteger(4) || !isRecipe(weight.q))
    return std::nullopt;
  weight.n = q.getDimSize(transposed ? 0 : 2);
  weight.numGroups = q.getDimSize(transposed ? 1 : 0);
  weight.group = q.getDimSize(transposed ? 2 : 1);
  SmallVector<int64_t> perGroup(q.getShape()), matrix{weight.k(), weight.n};
  perGroup[transposed ? 2 : 1] = 1;
  if (transposed)
    std::swap(matrix[0], matrix[1]);
  auto scale = cast<RankedTensorType>(weight.scale.getType());
  if (cast<RankedTensorType>(value.getType()).getShape() != ArrayRef(matrix) ||
      scale.getShape() != ArrayRef(perGroup) || !scale.getElementType().isF32() || !isStored(weight.scale))
    return std::nullopt;
  bool isSigned = q.getElementType().isSignlessInteger();
  weight.offset = isSigned ? 8 : 0;
  if (std::optional<int64_t> zero = getOnlyInteger(weight.zeroPoint)) { // one for all
    weight.offset += *zero;
    weight.zeroPoint = {};
  }
  if (weight.zeroPoint && (cast<RankedTensorType>(weight.zeroPoint.getType()).getShape() != ArrayRef(perGroup) ||
                           !isStored(weight.zeroPoint)))
    return std::nullopt;
  if (weight.group < 32 || weight.group % 32 != 0)
    return std::nullopt;
  return weight;
}

/// [N, K/G, 1] -> [K/G, 1, N] of what is stored: constants at once, since those of
/// integers are no recipes.
static Value orderGroups(OpBuilder &builder, Value value) {
  auto constant = value.getDefiningOp<lm::ConstantOp>();
  auto dense = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
  if (!dense)
    return lm::TransposeOp::create(builder, value.getLoc(), value, ArrayRef<int64_t>{1, 2, 0});
  ArrayRef<int64_t> shape = dense.getType().getShape();
  auto type = RankedTensorType::get({shape[1], shape[2], shape[0]}, dense.getElementType());
  DenseElementsAttr ordered;
  if (dense.isSplat()) {
    ordered = dense.resizeSplat(type);
  } else {
    SmallVector<Attribute> from(dense.getValues<Attribute>()), to;
    int64_t inner = shape[1] * shape[2];
    for (int64_t i = 0; i < inner; ++i)
      for (int64_t n = 0; n < shape[0]; ++n)
        to.push_back(from[n * inner + i]);
    ordered = DenseElementsAttr::get(type, to);
  }
  return lm::ConstantOp::create(builder, value.getLoc(), ordered);
}

static Value packGroups(OpBuilder &builder, const GroupedWeight &weight, const PlanTarget::PackedLayout &layout,
                        bool halfScales) {
  auto order = [&](Value value) { return value && weight.transposed ? orderGroups(builder, value) : value; };
  Value scale = order(weight.scale);
  if (halfScales)
    scale = lm::CastOp::create(builder, scale.getLoc(), scale, builder.getF16Type());
  return kernel::PackGroupsOp::create(builder, weight.q.getLoc(), order(weight.q), scale, order(weight.zeroPoint),
                                      layout.layout, layout.width);
}

namespace {
/// Rows of k int8 and their scales: one per row, or one per group of it.
struct QuantizedRows {
  lm::QuantizeOp quantize;
  bool grouped;
};
} // namespace

/// Per row of `value`, or reshape_to[..., K]( of rows [..., K/G, G] ).
static std::optional<QuantizedRows> matchActivation(Value value, const GroupedWeight &weight) {
  if (lm::QuantizeOp quantize = matchQuantizedRows(value))
    return QuantizedRows{quantize, false};
  auto reshape = value.getDefiningOp<lm::ReshapeOp>();
  lm::QuantizeOp quantize = reshape ? matchQuantizedRows(reshape.getInput()) : lm::QuantizeOp();
  if (!quantize)
    return std::nullopt;
  SmallVector<SymExpr> split = getDims(quantize.getInput()), whole = getDims(value);
  if (split.size() != whole.size() + 1 || !split.back().isConstant(weight.group) ||
      !split[split.size() - 2].isConstant(weight.numGroups) || !whole.back().isConstant(weight.k()))
    return std::nullopt;
  for (size_t i = 0; i + 1 < whole.size(); ++i)
    if (whole[i] != split[i])
      return std::nullopt;
  return QuantizedRows{quantize, true};
}

/// Sums of k products of bytes fit 32 bits.
static constexpr int64_t kMaxDepth = 131071;

static Value formGrouped(lm::LinearOp op, const GroupedWeight &weight, const PlanTarget &target,
                         const PlanTarget::PackedLayout &layout) {
  OpBuilder builder(op);
  Location loc = op.getLoc();
  int64_t offset = weight.offset;
  std::optional<QuantizedRows> rows = matchActivation(op.getInput(), weight);
  if (!rows || weight.k() > kMaxDepth) {
    // Beside f16, scales of f16: the product rounds them to it anyway.
    Value input = getBeforeWidening(op.getInput(), target);
    const bool halfScales =
        layout.layout == kernel::Layout::Rows && getElementTypeOrSelf(input).isF16() && isRecipe(weight.scale);
    Value packed = packGroups(builder, weight, layout, halfScales);
    return kernel::GemmWQOp::create(builder, loc, op.getType(), input, packed, /*weight_scale=*/Value(), op.getBias(),
                                    /*residual=*/Value(), weight.n, weight.k(), weight.group, offset,
                                    bool(weight.zeroPoint), kernel::Activation::None, layout.layout, halfScales);
  }
  Value packed = packGroups(builder, weight, layout, /*halfScales=*/false);
  kernel::QuantizeRowsOp quantized = getQuantizedRows(rows->quantize);
  Value q = quantized.getResult(), scale = quantized.getScale();
  if (rows->grouped) {
    SmallVector<SymExpr> dims = getDims(op.getInput());
    q = lm::ReshapeOp::create(builder, loc, q, dims);
    dims.back() = SymExpr(weight.numGroups);
    scale = lm::ReshapeOp::create(builder, loc, scale, dims);
  }
  return kernel::GemmW4A8Op::create(builder, loc, op.getType(), q, scale, packed, op.getBias(), /*residual=*/Value(),
                                    weight.n, weight.k(), weight.group, offset, bool(weight.zeroPoint),
                                    kernel::Activation::None, layout.layout);
}

static Value formInt8(lm::LinearOp op, lm::DequantizeOp dequantize, const PlanTarget &target,
                      const PlanTarget::PackedLayout &layout) {
  OpBuilder builder(op);
  Int8Weight weight = getInt8Weight(builder, dequantize, op.getTransposeWeight());
  auto matrix = cast<RankedTensorType>(weight.q.getType());
  int64_t k = matrix.getDimSize(0), n = matrix.getDimSize(1);
  int64_t width = layout.width;
  if (layout.layout == kernel::Layout::Rows)
    width = target.getInt8Layout(n, k).value_or(layout).width;
  Value packed = kernel::PackOp::create(builder, weight.q.getLoc(), weight.q, layout.layout, width);
  return kernel::GemmWQOp::create(builder, op.getLoc(), op.getType(), getBeforeWidening(op.getInput(), target), packed,
                                  weight.scale, op.getBias(), /*residual=*/Value(), n, k, /*group=*/0, /*offset=*/0,
                                  /*zero_points=*/false, kernel::Activation::None, layout.layout);
}

void plan::formQuantizedProducts(func::FuncOp function, const PlanTarget &target) {
  std::optional<PlanTarget::PackedLayout> layout = target.getQuantizedLayout();
  if (!layout)
    return;
  for (auto op : llvm::make_early_inc_range(function.getOps<lm::LinearOp>())) {
    if (!getElementTypeOrSelf(op.getType()).isF32() || !getElementTypeOrSelf(op.getInput()).isF32())
      continue;
    bool transposed = op.getTransposeWeight();
    Value result;
    if (std::optional<GroupedWeight> weight = matchGroups(op.getWeight(), transposed))
      result = formGrouped(op, *weight, target, *layout);
    else if (lm::DequantizeOp weight = matchInt8Weight(op.getWeight(), transposed))
      result = formInt8(op, weight, target, *layout);
    if (!result)
      continue;
    op.getResult().replaceAllUsesWith(result);
    op.erase();
  }
}
