// lm.attention_grad as products over [B, Nkv, G Sq, ..], G = N / Nkv: heads that share
// a key head are rows of one product, which thereby sums over them. Scores are computed
// here, behind the forward pass, and live from one of these products to the next.
#include "Partition.h"

#include "mlir/IR/TypeUtilities.h"

#include <limits>

using namespace mlir;
using namespace llmopt;
using lm::getDims;
using lm::SymExpr;

namespace {

class Gradients {
public:
  explicit Gradients(lm::AttentionGradOp op)
      : op(op), builder(op), q(getDims(op.getQuery())), k(getDims(op.getKey())), heads(op.getNumHeads()),
        kvHeads(op.getKvNumHeads()), group(heads / kvHeads) {
    element = getElementTypeOrSelf(op.getQuery());
    query = rows(op.getQuery(), group);
    key = rows(op.getKey(), 1);
    value = rows(op.getValue(), 1);
    gradient = rows(op.getGradient(), group);
    buildProbabilities();
  }

  /// Whether `other` differs at most in what it is the gradient of.
  bool serves(lm::AttentionGradOp other) {
    auto attributes = [](lm::AttentionGradOp grad) {
      NamedAttrList list(grad->getAttrDictionary());
      list.erase(grad.getOfAttrName());
      return list.getDictionary(grad.getContext());
    };
    return op->getOperands() == other->getOperands() && attributes(op) == attributes(other);
  }

  Value get(lm::AttentionOperand of, Type type) {
    double scale = op.getScale().convertToDouble();
    switch (of) {
    case lm::AttentionOperand::Value:
      return merge(matmul(swap(probabilities), gradient), 1);
    case lm::AttentionOperand::Query:
      return merge(mul(matmul(getScoreGradient(), key), scalar(scale)), group);
    case lm::AttentionOperand::Key:
      return merge(mul(matmul(swap(getScoreGradient()), query), scalar(scale)), 1);
    case lm::AttentionOperand::Mask: {
      Value ds = perHead(getScoreGradient());
      Type wanted = getElementTypeOrSelf(type);
      return wanted == element ? ds : create<lm::CastOp>(ds, wanted);
    }
    }
    llvm_unreachable("all operands are listed");
  }

  lm::AttentionGradOp op;

private:
  template <typename OpTy, typename... Args> Value create(Args &&...args) {
    return OpTy::create(builder, op.getLoc(), std::forward<Args>(args)...).getResult();
  }
  Value constant(Type type, TypedAttr value) {
    return create<lm::ConstantOp>(DenseElementsAttr::get(RankedTensorType::get({}, type), value));
  }
  Value scalar(double x) { return constant(element, builder.getFloatAttr(element, x)); }
  Value matmul(Value a, Value b) { return create<lm::MatMulOp>(a, b); }
  Value mul(Value a, Value b) { return create<lm::MulOp>(a, b); }
  Value swap(Value a) { return create<lm::TransposeOp>(a, ArrayRef<int64_t>{0, 1, 3, 2}); }
  Value reduce(lm::ReduceKind kind, Value a) {
    return create<lm::ReduceOp>(kind, a, ArrayRef<int64_t>{3}, /*keepdims=*/true);
  }

  /// [B, S, (n) W] -> [B, Nkv, share S, W].
  Value rows(Value x, int64_t share) {
    SmallVector<SymExpr> dims = getDims(x);
    SymExpr width = *SymExpr::divideExactly(dims[2], kvHeads * share);
    Value split = create<lm::ReshapeOp>(x, ArrayRef<SymExpr>{dims[0], dims[1], kvHeads * share, width});
    split = create<lm::TransposeOp>(split, ArrayRef<int64_t>{0, 2, 1, 3});
    return create<lm::ReshapeOp>(split, ArrayRef<SymExpr>{dims[0], kvHeads, SymExpr(share) * dims[1], width});
  }
  /// The way back.
  Value merge(Value x, int64_t share) {
    SmallVector<SymExpr> dims = getDims(x);
    SymExpr length = share == group && share != 1 ? q[1] : dims[2];
    Value split = create<lm::ReshapeOp>(x, ArrayRef<SymExpr>{dims[0], kvHeads * share, length, dims[3]});
    split = create<lm::TransposeOp>(split, ArrayRef<int64_t>{0, 2, 1, 3});
    return create<lm::ReshapeOp>(split, ArrayRef<SymExpr>{dims[0], length, SymExpr(kvHeads * share) * dims[3]});
  }
  Value perHead(Value x) { return create<lm::ReshapeOp>(x, ArrayRef<SymExpr>{q[0], heads, q[1], k[1]}); }
  Value perGroup(Value x) {
    return create<lm::ReshapeOp>(x, ArrayRef<SymExpr>{q[0], kvHeads, SymExpr(group) * q[1], k[1]});
  }
  /// Positions along `axis` of [1, 1, Sq, Sk], plus `first`.
  Value positions(int64_t axis, Type type, const SymExpr &first = 0) {
    SmallVector<SymExpr> dims(4, SymExpr(1));
    dims[axis] = axis == 2 ? q[1] : k[1];
    Value at = create<lm::IotaOp>(lm::getTensorType(dims, type), axis);
    if (first.isConstant(0))
      return at;
    Value offset = create<lm::ConstantOp>(lm::getSymValues(builder.getContext(), {first}));
    offset = create<lm::ReshapeOp>(offset, ArrayRef<SymExpr>{});
    return create<lm::AddOp>(at, getElementTypeOrSelf(offset) == type ? offset : create<lm::CastOp>(offset, type));
  }

  /// Which keys a query sees, broadcasting to [B, N, Sq, Sk]; null for all.
  Value buildVisible() {
    Value visible;
    auto add = [&](Value more) { visible = visible ? create<lm::AndOp>(visible, more) : more; };
    if (op.getMaskKind() == lm::MaskKind::Boolean)
      add(op.getMask());
    if (op.getMaskKind() == lm::MaskKind::KeyLengths) {
      Value lengths = create<lm::ReshapeOp>(op.getMask(), ArrayRef<SymExpr>{q[0], 1, 1, 1});
      add(create<lm::CompareOp>(lm::Predicate::LT, positions(3, getElementTypeOrSelf(lengths)), lengths));
    }
    if (op.getCausal()) {
      Type i64 = builder.getI64Type();
      add(create<lm::CompareOp>(lm::Predicate::LE, positions(3, i64), positions(2, i64, k[1] - q[1])));
    }
    return visible;
  }

  void buildProbabilities() {
    double infinity = std::numeric_limits<double>::infinity();
    Value scores = perHead(mul(matmul(query, swap(key)), scalar(op.getScale().convertToDouble())));
    if (op.getMaskKind() == lm::MaskKind::Additive) {
      Type type = getElementTypeOrSelf(op.getMask());
      if (type == element)
        scores = create<lm::AddOp>(scores, op.getMask());
      else if (op.getFullyMasked() == lm::FullyMasked::Source && element.isF32()) // rounded as in the source
        scores = create<lm::CastOp>(
            create<lm::CastOp>(create<lm::AddOp>(scores, create<lm::CastOp>(op.getMask(), element)), type), element);
      else
        scores = create<lm::AddOp>(scores, create<lm::CastOp>(op.getMask(), element));
    }
    Value visible = buildVisible();
    if (visible)
      scores = create<lm::WhereOp>(visible, scores, scalar(-infinity));
    probabilities = create<lm::SoftmaxOp>(scores, builder.getI64IntegerAttr(3), builder.getBoolAttr(false));
    if (op.getFullyMasked() == lm::FullyMasked::Zero && (visible || op.getMask())) {
      Value hidden = create<lm::CompareOp>(lm::Predicate::EQ, reduce(lm::ReduceKind::Max, scores), scalar(-infinity));
      depends = create<lm::NotOp>(hidden);
      probabilities = create<lm::WhereOp>(depends, probabilities, scalar(0));
    } else if (op.getFullyMasked() == lm::FullyMasked::Source && visible) {
      Value full =
          create<lm::BroadcastOp>(create<lm::CastOp>(visible, element), ArrayRef<SymExpr>{q[0], heads, q[1], k[1]});
      depends = create<lm::CompareOp>(lm::Predicate::GT, reduce(lm::ReduceKind::Max, full), scalar(0));
      Value ones = create<lm::BroadcastOp>(scalar(1), ArrayRef<SymExpr>{1, 1, 1, k[1]});
      Value alike = create<lm::ReciprocalOp>(reduce(lm::ReduceKind::Sum, ones));
      probabilities = create<lm::WhereOp>(depends, probabilities, alike);
    }
    probabilities = perGroup(probabilities);
  }

  Value getScoreGradient() {
    if (scoreGradient)
      return scoreGradient;
    Value dp = matmul(gradient, swap(value));
    Value mean = reduce(lm::ReduceKind::Sum, mul(dp, probabilities));
    scoreGradient = mul(probabilities, create<lm::SubOp>(dp, mean));
    if (depends)
      scoreGradient = perGroup(create<lm::WhereOp>(depends, perHead(scoreGradient), scalar(0)));
    return scoreGradient;
  }

  OpBuilder builder;
  SmallVector<SymExpr> q, k;
  int64_t heads, kvHeads, group;
  Type element;
  Value query, key, value, gradient, probabilities, depends, scoreGradient;
};

} // namespace

void plan::lowerAttentionGrad(func::FuncOp function) {
  std::unique_ptr<Gradients> last; // those of one attention stand together
  SmallVector<lm::AttentionGradOp> done;
  for (auto op : function.getOps<lm::AttentionGradOp>()) {
    if (!last || !last->serves(op))
      last = std::make_unique<Gradients>(op);
    Value result = last->get(op.getOf(), op.getType());
    op.getResult().replaceAllUsesWith(result);
    done.push_back(op);
  }
  for (lm::AttentionGradOp op : done)
    op.erase();
}
