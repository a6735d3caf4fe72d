// Query, key and value projections of one input become one projection.
//
// The weight is an lm.concat of the three canonical weights, which later turns
// into a recipe: what is trained, pruned or swapped stays three weights.
#include "RaiseMatchers.h"

#include "llmopt/Transforms/Cleanup.h"
#include "llmopt/Transforms/FusionReport.h"
#include "llmopt/Transforms/Passes.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"

namespace llmopt {
#define GEN_PASS_DEF_FUSEQKVPASS
#include "llmopt/Transforms/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

bool llmopt::isPackedQKV(AttentionOp attention) {
  LinearOp common;
  for (Value operand : {attention.getQuery(), attention.getKey(), attention.getValue()}) {
    auto slice = operand.getDefiningOp<SliceOp>();
    auto linear = slice ? slice.getInput().getDefiningOp<LinearOp>() : LinearOp();
    if (!linear || (common && common != linear))
      return false;
    common = linear;
  }
  return true;
}

Candidate<QKVMatch> llmopt::matchQKV(AttentionOp attention) {
  using Result = MatchOr<QKVMatch>;
  if (isPackedQKV(attention))
    return std::nullopt;
  QKVMatch match{attention, attention.getQuery().getDefiningOp<LinearOp>(),
                 attention.getKey().getDefiningOp<LinearOp>(), attention.getValue().getDefiningOp<LinearOp>()};
  const std::pair<LinearOp, StringRef> all[] = {{match.query, "query"}, {match.key, "key"}, {match.value, "value"}};
  for (auto [linear, name] : all) {
    if (!linear)
      return Result(Miss{("the " + name + " is not directly a linear").str(), ""});
    if (linear.getInput() != match.query.getInput())
      return Result(Miss{("the " + name + " is projected from another input than the query").str(), ""});
    if (!linear->hasOneUse())
      return Result(Miss{("the projected " + name + " is used elsewhere too").str(), ""});
    if (linear.getTransposeWeight() != match.query.getTransposeWeight())
      return Result(Miss{"the weights are stored in different orders", ""});
    if (!isWeightDerived(linear.getWeight()) || (linear.getBias() && !isWeightDerived(linear.getBias())))
      return Result(Miss{("weight or bias of the " + name + " is computed").str(), ""});
    if (getElementTypeOrSelf(linear.getWeight().getType()) != getElementTypeOrSelf(match.query.getWeight().getType()) ||
        !getDims(linear.getResult()).back().getConstant())
      return Result(Miss{"the weights differ in element type, or a width is not constant", ""});
  }
  return Result(match);
}

/// `values` side by side along `axis`.
static Value join(OpBuilder &builder, Location loc, ArrayRef<Value> values, int64_t axis) {
  return ConcatOp::create(builder, loc, values, builder.getI64IntegerAttr(axis));
}

static bool isOne(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.hasStaticShape() && type.getNumElements() == 1;
}

/// The dequantizations behind `weights` [K, N] (axis 1) or [N, K] (axis 0), perhaps in
/// groups under a reshape, where all have one form and parameters of their own per
/// output; empty otherwise.
static SmallVector<DequantizeOp> getDequantizations(ArrayRef<Value> weights, int64_t axis) {
  SmallVector<DequantizeOp> all;
  for (Value weight : weights) {
    auto reshape = weight.getDefiningOp<ReshapeOp>();
    auto dequantize = (reshape ? reshape.getInput() : weight).getDefiningOp<DequantizeOp>();
    if (!dequantize)
      return {};
    auto outputs = [&](Value value) { // of [.., N], or of [N, ..]
      SmallVector<SymExpr> dims = getDims(value);
      return dims.empty() ? std::optional<int64_t>() : (axis == 0 ? dims.front() : dims.back()).getConstant();
    };
    size_t rank = getDims(dequantize.getInput()).size();
    auto fits = [&](Value value) {
      return !value || (getDims(value).size() == rank && outputs(value) == outputs(weight));
    };
    auto isScale = [&](Value value) { return fits(value) || (rank == 2 && isOne(value)); };
    auto isZeroPoint = [&](Value value) { return fits(value) || (isOne(value) && value.getDefiningOp<ConstantOp>()); };
    if ((rank != 2 && rank != 3) || !fits(dequantize.getInput()) || !isScale(dequantize.getScale()) ||
        !isZeroPoint(dequantize.getZeroPoint()))
      return {};
    // All dimensions but that of the outputs agree.
    auto sameForm = [&](Value a, Value b) {
      if (!a || !b)
        return !a == !b;
      if (isOne(a) && isOne(b)) {
        auto x = a.getDefiningOp<ConstantOp>(), y = b.getDefiningOp<ConstantOp>();
        return isa<FloatType>(getElementTypeOrSelf(a)) ? a.getType() == b.getType()
                                                       : x && y && x.getValue() == y.getValue();
      }
      SmallVector<SymExpr> x = getDims(a), y = getDims(b);
      if (x.size() != y.size() || x.empty())
        return false;
      (axis == 0 ? x.front() : x.back()) = (axis == 0 ? y.front() : y.back());
      return x == y && getElementTypeOrSelf(a) == getElementTypeOrSelf(b);
    };
    if (!all.empty() &&
        (!sameForm(all[0].getInput(), dequantize.getInput()) || !sameForm(all[0].getScale(), dequantize.getScale()) ||
         !sameForm(all[0].getZeroPoint(), dequantize.getZeroPoint())))
      return {};
    all.push_back(dequantize);
  }
  return all;
}

/// One scale of a matrix as one for each of its outputs.
static Value spreadScale(OpBuilder &builder, Location loc, Value value, Value matrix, int64_t axis) {
  SmallVector<int64_t> shape{1, 1};
  shape[axis] = cast<RankedTensorType>(matrix.getType()).getDimSize(axis);
  if (!isOne(value) || cast<RankedTensorType>(value.getType()).getShape() == ArrayRef(shape))
    return value;
  auto type = RankedTensorType::get(shape, getElementTypeOrSelf(value));
  auto constant = value.getDefiningOp<ConstantOp>();
  if (auto dense = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr())
    return ConstantOp::create(builder, loc, type, cast<TypedAttr>(dense.resizeSplat(type)));
  TypedAttr ones = DenseElementsAttr::get(type, builder.getFloatAttr(type.getElementType(), 1.0));
  Value one = ReshapeOp::create(builder, loc, value, ArrayRef<SymExpr>{SymExpr(1)});
  return MulOp::create(builder, loc, type, ConstantOp::create(builder, loc, type, ones), one);
}

/// Weights side by side. Quantized ones stay so: their integers and parameters are
/// joined, for kernels know a dequantization of one value.
static Value joinWeights(OpBuilder &builder, Location loc, ArrayRef<Value> weights, int64_t axis) {
  SmallVector<DequantizeOp> quantized = getDequantizations(weights, axis);
  if (quantized.empty())
    return join(builder, loc, weights, axis);
  SmallVector<Value> values, scales, zeros;
  for (DequantizeOp op : quantized) {
    values.push_back(op.getInput());
    scales.push_back(spreadScale(builder, loc, op.getScale(), op.getInput(), axis));
    if (op.getZeroPoint())
      zeros.push_back(op.getZeroPoint());
  }
  int64_t last = axis == 0 ? 0 : int64_t(getDims(values[0]).size()) - 1;
  // One of all outputs is the same in all weights, see getDequantizations.
  Value zero = zeros.empty() ? Value() : isOne(zeros[0]) ? zeros[0] : join(builder, loc, zeros, last);
  Value joined =
      DequantizeOp::create(builder, loc, join(builder, loc, values, last), join(builder, loc, scales, last), zero);
  SmallVector<SymExpr> dims = getDims(weights[0]);
  SymExpr outputs(0);
  for (Value weight : weights)
    outputs += getDims(weight)[axis];
  dims[axis] = outputs;
  return getDims(joined).size() == 2 ? joined : ReshapeOp::create(builder, loc, joined, dims).getResult();
}

namespace {
struct FuseQKVPass : llmopt::impl::FuseQKVPassBase<FuseQKVPass> {
  void runOnOperation() override {
    SmallVector<AttentionOp> attentions;
    getOperation()->walk([&](AttentionOp attention) { attentions.push_back(attention); });
    IRRewriter rewriter(&getContext());
    for (AttentionOp attention : attentions) {
      Candidate<QKVMatch> candidate = matchQKV(attention);
      if (candidate && *candidate)
        fuse(rewriter, **candidate);
    }
    if (failed(runCleanup(getOperation())))
      return signalPassFailure();
    emitFusionRemarks(getOperation(), FusionKind::QKV, "lm-fuse-qkv");
  }

  void fuse(IRRewriter &rewriter, QKVMatch &match) {
    LinearOp linears[] = {match.query, match.key, match.value};
    // All inputs of the three dominate the last of them; their only reader is
    // the attention, so the merged linear may stand there.
    rewriter.setInsertionPoint(match.attention);
    Location loc = rewriter.getFusedLoc({linears[0].getLoc(), linears[1].getLoc(), linears[2].getLoc()});
    bool transposed = match.query.getTransposeWeight();
    SmallVector<Value> weights, biases;
    SmallVector<int64_t> widths;
    int64_t total = 0;
    bool anyBias = llvm::any_of(linears, [](LinearOp linear) { return linear.getBias(); });
    for (LinearOp linear : linears) {
      int64_t width = *getDims(linear.getResult()).back().getConstant();
      weights.push_back(linear.getWeight());
      widths.push_back(width);
      total += width;
      if (linear.getBias()) {
        biases.push_back(linear.getBias());
      } else if (anyBias) {
        auto type = RankedTensorType::get({width}, getElementTypeOrSelf(linear.getType()));
        TypedAttr zero = DenseElementsAttr::get(type, rewriter.getFloatAttr(type.getElementType(), 0.0));
        biases.push_back(ConstantOp::create(rewriter, loc, type, zero));
      }
    }
    Value weight = joinWeights(rewriter, loc, weights, transposed ? 0 : 1);
    Value bias = anyBias ? ConcatOp::create(rewriter, loc, biases, rewriter.getI64IntegerAttr(0)).getResult() : Value();
    SmallVector<SymExpr> dims = getDims(match.query.getResult());
    Type elementType = getElementTypeOrSelf(match.query.getType());
    dims.back() = total;
    Value packed = LinearOp::create(rewriter, loc, getTensorType(dims, elementType), match.query.getInput(), weight,
                                    bias, rewriter.getBoolAttr(transposed));
    SmallVector<SymExpr> starts(dims.size(), SymExpr(0));
    for (auto [linear, width] : llvm::zip_equal(linears, widths)) {
      dims.back() = width;
      Value slice = SliceOp::create(rewriter, loc, packed, starts, dims);
      starts.back() += width;
      rewriter.replaceOp(linear, slice);
    }
  }
};
} // namespace
