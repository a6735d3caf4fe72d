#include "llmopt/Transforms/Quantization/Scheme.h"

#include "llmopt/Transforms/Matching.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

std::string QuantScheme::str() const {
  if (fake && weight != Weight::Float) {
    QuantScheme real = *this;
    real.fake = false;
    return real.str() + "-fake";
  }
  switch (weight) {
  case Weight::Float:
    return "float";
  case Weight::E4M3:
    return "fp8";
  case Weight::Int8:
    return input == Input::Float ? "int8-weights" : input == Input::Static ? "int8-static" : "int8";
  case Weight::Int4:
    return "int4-g" + std::to_string(group) +
           (input == Input::Float      ? "-weights"
            : input == Input::PerToken ? "-token"
                                       : "");
  }
  return "";
}

int64_t QuantScheme::getBytes(int64_t k, int64_t n) const {
  if (weight == Weight::Float)
    return 4 * k * n;
  if (weight == Weight::Int8 || weight == Weight::E4M3)
    return k * n + 4 * n;
  return k * n / 2 + 4 * (k / group) * n;
}

std::pair<int64_t, int64_t> llmopt::getWeightSize(LinearOp linear) {
  auto type = cast<RankedTensorType>(linear.getWeight().getType());
  bool transposed = linear.getTransposeWeight();
  return {type.getDimSize(transposed ? 1 : 0), type.getDimSize(transposed ? 0 : 1)};
}

/// Whether `value` is quantized already: in integers or in floats, in groups or not.
static bool isRounded(Value value) {
  if (auto reshape = value.getDefiningOp<ReshapeOp>())
    value = reshape.getInput();
  return isa_and_nonnull<DequantizeOp, FakeQuantizeOp>(value.getDefiningOp());
}

bool llmopt::isQuantizable(LinearOp linear) {
  return getElementTypeOrSelf(linear.getInput()).isF32() && getElementTypeOrSelf(linear.getWeight()).isF32() &&
         isWeightDerived(linear.getWeight()) && !isRounded(linear.getInput()) && !isRounded(linear.getWeight());
}

std::optional<std::string> llmopt::whyNot(LinearOp linear, const QuantScheme &scheme) {
  auto [k, n] = getWeightSize(linear);
  (void)n;
  if (scheme.weight == QuantScheme::Weight::Int4 && (scheme.group < 1 || k % scheme.group))
    return "groups of " + std::to_string(scheme.group) + " do not divide " + std::to_string(k) + " inputs";
  return std::nullopt;
}

/// x -> dequantize(quantize(x, scale), scale), narrow range, in an integer type of
/// `bits`.
static Value roundTo(OpBuilder &builder, Location loc, Value x, Value scale, unsigned bits, bool fake) {
  auto fakeQuantize = FakeQuantizeOp::create(builder, loc, x, scale, Value(), builder.getIntegerType(bits), true);
  if (fake)
    return fakeQuantize;
  Value result = fakeQuantize.expand(builder);
  fakeQuantize.erase();
  return result;
}

/// The same with scale = absmax over `axis` / qmax.
static Value roundToNearest(OpBuilder &builder, Location loc, Value x, int64_t axis, unsigned bits, bool fake = false) {
  Value scale = AbsMaxScaleOp::create(builder, loc, x, builder.getDenseI64ArrayAttr({axis}),
                                      builder.getF64FloatAttr((1 << (bits - 1)) - 1));
  return roundTo(builder, loc, x, scale, bits, fake);
}

/// x -> dequantize(quantize(x, scale), scale) in e4m3, scale = absmax over `axis` / 448.
static Value roundToFloat8(OpBuilder &builder, Location loc, Value x, int64_t axis) {
  Value scale =
      AbsMaxScaleOp::create(builder, loc, x, builder.getDenseI64ArrayAttr({axis}), builder.getF64FloatAttr(448.0));
  auto type = getTensorType(getDims(x), Float8E4M3FNType::get(builder.getContext()));
  Value q = QuantizeOp::create(builder, loc, type, x, scale, Value(), /*narrow_range=*/false, /*saturate=*/true);
  return DequantizeOp::create(builder, loc, q, scale, Value());
}

int64_t llmopt::expandFakeQuantize(Operation *root) {
  int64_t count = 0;
  root->walk([&](FakeQuantizeOp op) {
    OpBuilder builder(op);
    op.getResult().replaceAllUsesWith(op.expand(builder));
    op.erase();
    ++count;
  });
  return count;
}

int64_t llmopt::formFakeQuantize(Operation *root) {
  int64_t count = 0;
  root->walk([&](DequantizeOp op) {
    auto quantize = op.getInput().getDefiningOp<QuantizeOp>();
    if (!quantize || quantize.getScale() != op.getScale() || quantize.getZeroPoint() != op.getZeroPoint() ||
        getElementTypeOrSelf(quantize.getInput()) != getElementTypeOrSelf(op.getScale()) ||
        !isa<IntegerType>(getElementTypeOrSelf(quantize.getType())) ||
        getElementTypeOrSelf(quantize.getType()).getIntOrFloatBitWidth() > 16)
      return;
    OpBuilder builder(op);
    Value fake = FakeQuantizeOp::create(builder, op.getLoc(), quantize.getInput(), op.getScale(), op.getZeroPoint(),
                                        getElementTypeOrSelf(quantize.getType()), quantize.getNarrowRange());
    op.getResult().replaceAllUsesWith(fake);
    op.erase();
    if (quantize->use_empty())
      quantize->erase();
    ++count;
  });
  return count;
}

/// `value` with its dimension `axis` split into groups of `size`.
static Value splitGroups(OpBuilder &builder, Location loc, Value value, int64_t axis, int64_t size) {
  SmallVector<SymExpr> dims = getDims(value);
  int64_t count = *dims[axis].getConstant() / size;
  dims[axis] = count;
  dims.insert(dims.begin() + axis + 1, SymExpr(size));
  return ReshapeOp::create(builder, loc, value, dims);
}

Value InputQuantizer::roundTrip(Value x, const QuantScheme &scheme, double staticScale) {
  bool grouped = scheme.input == QuantScheme::Input::PerGroup;
  int64_t key = scheme.weight == QuantScheme::Weight::E4M3     ? -2
                : grouped                                      ? scheme.group
                : scheme.input == QuantScheme::Input::PerToken ? 0
                                                               : -1;
  Value &result = done[{x, key}];
  if (result)
    return result;
  OpBuilder builder(x.getContext());
  builder.setInsertionPointAfterValue(x);
  Location loc = x.getLoc();
  int64_t last = cast<RankedTensorType>(x.getType()).getRank() - 1;
  if (scheme.input == QuantScheme::Input::Static) {
    Value scale = createScalar(builder, loc, builder.getF32Type(), staticScale);
    return result = roundTo(builder, loc, x, scale, 8, scheme.fake);
  }
  if (scheme.weight == QuantScheme::Weight::E4M3)
    return result = roundToFloat8(builder, loc, x, last);
  if (!grouped)
    return result = roundToNearest(builder, loc, x, last, 8, scheme.fake);
  SmallVector<SymExpr> dims = getDims(x);
  Value rounded =
      roundToNearest(builder, loc, splitGroups(builder, loc, x, last, scheme.group), last + 1, 8, scheme.fake);
  return result = ReshapeOp::create(builder, loc, rounded, dims);
}

void llmopt::quantizeLinear(LinearOp linear, const QuantScheme &scheme, InputQuantizer &inputs,
                            const SolvedWeight *solved, double staticScale) {
  if (scheme.isFloat())
    return;
  OpBuilder builder(linear);
  Location loc = linear.getLoc();
  Value weight = linear.getWeight();
  int64_t axis = linear.getTransposeWeight() ? 1 : 0;
  SmallVector<SymExpr> dims = getDims(weight);
  bool grouped = scheme.weight == QuantScheme::Weight::Int4;
  if (solved) {
    weight = DequantizeOp::create(builder, loc, solved->q, solved->scale, solved->zeroPoint);
    auto [k, n] = getWeightSize(linear);
    dims = {SymExpr(k), SymExpr(n)};
    linear.setTransposeWeight(false);
  } else if (grouped) {
    weight =
        roundToNearest(builder, loc, splitGroups(builder, loc, weight, axis, scheme.group), axis + 1, 4, scheme.fake);
  } else if (scheme.weight == QuantScheme::Weight::E4M3) {
    weight = roundToFloat8(builder, loc, weight, axis);
  } else {
    weight = roundToNearest(builder, loc, weight, axis, 8, scheme.fake);
  }
  if (grouped)
    weight = ReshapeOp::create(builder, loc, weight, dims);
  linear.getWeightMutable().set(weight);
  if (scheme.input != QuantScheme::Input::Float)
    linear.getInputMutable().set(inputs.roundTrip(linear.getInput(), scheme, staticScale));
}

bool llmopt::isQuantizable(EmbeddingOp embedding) {
  return getElementTypeOrSelf(embedding.getTable()).isF32() && isWeightDerived(embedding.getTable()) &&
         !embedding.getTable().getDefiningOp<DequantizeOp>();
}

void llmopt::quantizeTable(EmbeddingOp embedding) {
  OpBuilder builder(embedding);
  embedding.getTableMutable().set(roundToNearest(builder, embedding.getLoc(), embedding.getTable(), 1, 8));
}
