// Products of integers by an integer weight that are scaled afterwards, as
// MatMulInteger, QGemm and their like leave them:
//
//   cast(sum (q - z) (w - zw)) * (s sw)  ->  matmul(dequantize(q, s, z), dequantize(w, sw, zw))
//
// The same number up to the rounding of f32, in the form that everything else takes
// (lm.linear of dequantized operands). Integers that are read as such stay.
#include "llmopt/Transforms/Cleanup.h"
#include "llmopt/Transforms/Matching.h"
#include "llmopt/Transforms/Passes.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"

namespace llmopt {
#define GEN_PASS_DEF_RAISEINTEGERPRODUCTSPASS
#include "llmopt/Transforms/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

static bool isByte(Value value) { return getElementTypeOrSelf(value).isInteger(8); }

static bool isOne(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.hasStaticShape() && type.getNumElements() == 1;
}

static DenseIntElementsAttr getIntegers(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  return constant ? dyn_cast<DenseIntElementsAttr>(constant.getValue()) : DenseIntElementsAttr();
}

/// A constant of i32 as one of the 8-bit type `type`; null where a number does not fit.
static Value narrow(OpBuilder &builder, Value value, Type type) {
  DenseIntElementsAttr dense = getIntegers(value);
  if (!dense || !dense.getElementType().isSignlessInteger(32))
    return {};
  bool isUnsigned = type.isUnsignedInteger();
  SmallVector<APInt> numbers;
  for (const APInt &number : dense.getValues<APInt>()) {
    int64_t wide = number.getSExtValue();
    if (wide < (isUnsigned ? 0 : -128) || wide > (isUnsigned ? 255 : 127))
      return {};
    numbers.push_back(number.trunc(8));
  }
  auto narrowed = RankedTensorType::get(dense.getType().getShape(), type);
  TypedAttr attribute = DenseElementsAttr::get(narrowed, numbers);
  return ConstantOp::create(builder, value.getLoc(), narrowed, attribute);
}

namespace {
/// q - zero, of bytes; `zero` may be null.
struct Centered {
  Value q, zero;
};
} // namespace

/// cast(q), or cast(q) less cast(zero) or a constant; where `folded`, also a constant
/// that fits bytes.
static std::optional<Centered> matchCentered(OpBuilder &builder, Value value, bool folded) {
  if (auto cast = value.getDefiningOp<CastOp>(); cast && isByte(cast.getInput()))
    return Centered{cast.getInput(), {}};
  if (folded && getIntegers(value))
    if (Value q = narrow(builder, value, builder.getI8Type()))
      return Centered{q, {}};
  auto sub = value.getDefiningOp<SubOp>();
  auto cast = sub ? sub.getLhs().getDefiningOp<CastOp>() : CastOp();
  if (!cast || !isByte(cast.getInput()))
    return std::nullopt;
  Type type = getElementTypeOrSelf(cast.getInput());
  auto zeroCast = sub.getRhs().getDefiningOp<CastOp>();
  Value zero = zeroCast ? zeroCast.getInput() : narrow(builder, sub.getRhs(), type);
  if (!zero || getElementTypeOrSelf(zero) != type)
    return std::nullopt;
  return Centered{cast.getInput(), zero};
}

/// A parameter of the columns of a [K, n] weight, one or n: a scalar or [1, n]; null
/// for another.
static Value asRow(OpBuilder &builder, Value value, const SymExpr &n) {
  SmallVector<SymExpr> dims = getDims(value);
  if (isOne(value))
    return dims.empty() ? value : ReshapeOp::create(builder, value.getLoc(), value, ArrayRef<SymExpr>()).getResult();
  if (!llmopt::isVector(value, n))
    return {};
  return ReshapeOp::create(builder, value.getLoc(), value, ArrayRef<SymExpr>{SymExpr(1), n});
}

/// Operations made on the way to a failure are left dead.
static LogicalResult raise(MulOp mul, IRRewriter &rewriter) {
  rewriter.setInsertionPoint(mul);
  auto cast = mul.getLhs().getDefiningOp<CastOp>();
  Value scale = mul.getRhs();
  if (!cast || !getElementTypeOrSelf(cast.getInput()).isSignlessInteger(32)) {
    cast = mul.getRhs().getDefiningOp<CastOp>();
    scale = mul.getLhs();
  }
  if (!cast || !getElementTypeOrSelf(mul.getType()).isF32() || !haveSameDims(cast, mul))
    return failure();
  auto product = cast.getInput().getDefiningOp<MatMulOp>();
  Value added;
  if (auto add = cast.getInput().getDefiningOp<AddOp>(); add && add->hasOneUse()) { // a bias in integers
    for (int side = 0; side < 2 && !product; ++side) {
      product = add->getOperand(side).getDefiningOp<MatMulOp>();
      added = add->getOperand(1 - side);
    }
    if (product && !haveSameDims(add, product))
      return failure();
  }
  if (!product || !product->hasOneUse() || !getElementTypeOrSelf(product.getType()).isSignlessInteger(32) ||
      getDims(product.getRhs()).size() != 2)
    return failure();
  SymExpr n = getDims(product.getRhs())[1];
  if (!n.getConstant() ||
      !isWeightDerived(product.getRhs().getDefiningOp<SubOp>() ? product.getRhs().getDefiningOp<SubOp>().getLhs()
                                                               : product.getRhs()))
    return failure();
  // s sw, where s is of the whole input.
  Value inputScale, weightScale;
  if (auto factors = scale.getDefiningOp<MulOp>()) {
    for (int side = 0; side < 2 && !weightScale; ++side)
      if (isOne(factors->getOperand(side)) && isWeightDerived(factors->getOperand(1 - side))) {
        inputScale = factors->getOperand(side);
        weightScale = factors->getOperand(1 - side);
      }
  }
  auto createOne = [&] { return createScalar(rewriter, mul.getLoc(), rewriter.getF32Type(), 1.0); };
  if (!weightScale && isOne(scale)) {
    inputScale = scale;
    weightScale = createOne();
  } else if (!weightScale && isWeightDerived(scale)) {
    inputScale = createOne();
    weightScale = scale;
  }
  if (!weightScale || !getElementTypeOrSelf(inputScale).isF32() || !getElementTypeOrSelf(weightScale).isF32() ||
      (added && (!isWeightDerived(scale) || !isWeightDerived(added))))
    return failure();
  std::optional<Centered> input = matchCentered(rewriter, product.getLhs(), /*folded=*/false);
  std::optional<Centered> weight = matchCentered(rewriter, product.getRhs(), /*folded=*/true);
  if (!input || !weight || (input->zero && !isOne(input->zero)))
    return failure();

  Location loc = rewriter.getFusedLoc({product.getLoc(), mul.getLoc()});
  weightScale = asRow(rewriter, weightScale, n);
  Value weightZero = weight->zero ? asRow(rewriter, weight->zero, n) : Value();
  Value bias;
  if (added) {
    Value steps = asRow(rewriter, scale, n);
    if (!steps || (!isOne(added) && !llmopt::isVector(added, n)))
      return failure();
    if (!isOne(steps))
      steps = ReshapeOp::create(rewriter, loc, steps, ArrayRef<SymExpr>{n});
    bias = DequantizeOp::create(rewriter, loc, added, steps, Value());
  }
  if (!weightScale || (weight->zero && !weightZero))
    return failure();
  Value x = DequantizeOp::create(rewriter, loc, input->q, asRow(rewriter, inputScale, n),
                                 input->zero ? asRow(rewriter, input->zero, n) : Value());
  Value w = DequantizeOp::create(rewriter, loc, weight->q, weightScale, weightZero);
  Value result = MatMulOp::create(rewriter, loc, x, w);
  if (bias)
    result = AddOp::create(rewriter, loc, result, bias);
  if (getElementTypeOrSelf(result) != getElementTypeOrSelf(mul.getType()) || !haveSameDims(result, mul))
    return failure();
  rewriter.replaceOp(mul, result);
  return success();
}

namespace {
struct RaiseIntegerProductsPass : llmopt::impl::RaiseIntegerProductsPassBase<RaiseIntegerProductsPass> {
  void runOnOperation() override {
    SmallVector<MulOp> products;
    getOperation()->walk([&](MulOp mul) { products.push_back(mul); });
    IRRewriter rewriter(&getContext());
    for (MulOp mul : products)
      (void)raise(mul, rewriter);
    if (failed(runCleanup(getOperation())))
      signalPassFailure();
  }
};
} // namespace
