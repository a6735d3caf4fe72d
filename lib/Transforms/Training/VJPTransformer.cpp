// Gradients of norms, GELU, embeddings and attention.
#include "VJPRules.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// With r = 1/sqrt(var + eps) and n the normalised row: dx = r (h - mean h - n
/// mean(h n)) for layer norm, h = g scale; RMS norm lacks the mean.
LogicalResult normVJP(NormOp norm, Value g, const VJPContext &c) {
  Value x = norm.getInput();
  int64_t last = cast<RankedTensorType>(x.getType()).getRank() - 1;
  bool layer = norm.getKind() == NormKind::Layer;
  Value centred = layer ? c.sub(x, c.mean(x, {last}, true)) : x;
  Value variance = c.mean(c.mul(centred, centred), {last}, true);
  Value inverse = c.create<ReciprocalOp>(c.create<SqrtOp>(c.add(variance, norm.getEpsilon().convertToDouble())));
  Value normalised = c.mul(centred, inverse);
  if (c.isActive(norm.getScale()))
    c.accumulate(norm.getScale(), c.mul(g, normalised));
  c.accumulate(norm.getBias(), g);
  if (!c.isActive(x))
    return success();
  Value h = norm.getScale() ? c.mul(g, norm.getScale()) : g;
  Value inner = c.mul(normalised, c.mean(c.mul(h, normalised), {last}, true));
  Value difference = c.sub(h, inner);
  if (layer)
    difference = c.sub(difference, c.mean(h, {last}, true));
  c.accumulate(x, c.mul(inverse, difference));
  return success();
}

LogicalResult geluVJP(GeluOp gelu, Value g, const VJPContext &c) {
  Value x = gelu.getInput();
  Type element = getElementTypeOrSelf(x);
  Value slope;
  switch (gelu.getKind()) {
  case GeluKind::Erf: { // Phi(x) + x phi(x)
    Value cdf = c.mul(c.add(c.create<ErfOp>(c.mul(x, M_SQRT1_2)), 1.0), 0.5);
    Value pdf = c.mul(c.create<ExpOp>(c.mul(c.mul(x, x), -0.5)), 1.0 / std::sqrt(2 * M_PI));
    slope = c.add(cdf, c.mul(x, pdf));
    break;
  }
  case GeluKind::Tanh: { // u = k (x + a x^3), t = tanh u: (1+t)/2 + x/2 (1-t^2) k (1 + 3 a x^2)
    double k = std::sqrt(2 / M_PI), a = 0.044715;
    Value square = c.mul(x, x);
    Value t = c.create<TanhOp>(c.mul(c.mul(x, c.add(c.mul(square, a), 1.0)), k));
    Value du = c.mul(c.add(c.mul(square, 3 * a), 1.0), k);
    Value curve = c.mul(c.mul(c.mul(x, 0.5), c.sub(c.scalar(1.0, element), c.mul(t, t))), du);
    slope = c.add(c.mul(c.add(t, 1.0), 0.5), curve);
    break;
  }
  case GeluKind::Quick: { // s = sigmoid(k x): s + k x s (1 - s)
    Value s = c.create<SigmoidOp>(c.mul(x, 1.702));
    Value curve = c.mul(c.mul(x, 1.702), c.mul(s, c.sub(c.scalar(1.0, element), s)));
    slope = c.add(s, curve);
    break;
  }
  }
  c.accumulate(x, c.mul(g, slope));
  return success();
}

/// One lm.attention_grad for each operand that wants it: what they share is theirs.
LogicalResult attentionVJP(AttentionOp op, Value g, const VJPContext &c) {
  auto give = [&](AttentionOperand of, Value operand, Type type) {
    if (c.isActive(operand))
      c.accumulate(operand, c.create<AttentionGradOp>(type, of, op.getQuery(), op.getKey(), op.getValue(), op.getMask(),
                                                      g, op.getNumHeads(), op.getKvNumHeads(), op.getScale(),
                                                      op.getMaskKind(), op.getCausal(), op.getFullyMasked()));
  };
  give(AttentionOperand::Query, op.getQuery(), op.getQuery().getType());
  give(AttentionOperand::Key, op.getKey(), op.getKey().getType());
  give(AttentionOperand::Value, op.getValue(), op.getValue().getType());
  if (op.getMaskKind() == MaskKind::Additive) {
    SmallVector<SymExpr> q = getDims(op.getQuery()), k = getDims(op.getKey());
    Type element = getElementTypeOrSelf(op.getMask());
    give(AttentionOperand::Mask, op.getMask(),
         getTensorType({q[0], static_cast<int64_t>(op.getNumHeads()), q[1], k[1]}, element));
  }
  return success();
}

} // namespace

LogicalResult llmopt::applyTransformerVJP(Operation *op, Value g, const VJPContext &c) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<NormOp>([&](NormOp norm) { return normVJP(norm, g, c); })
      .Case<GeluOp>([&](GeluOp gelu) { return geluVJP(gelu, g, c); })
      .Case<AttentionOp>([&](AttentionOp attention) { return attentionVJP(attention, g, c); })
      .Case<EmbeddingOp>([&](EmbeddingOp embedding) {
        c.accumulate(embedding.getTable(),
                     c.create<EmbeddingGradOp>(embedding.getTable().getType(), embedding.getIds(), g));
        return success();
      })
      .Case<DropoutOp>([&](DropoutOp dropout) { // the same mask
        c.accumulate(dropout.getInput(), c.create<DropoutOp>(g, dropout.getProbability(), dropout.getSeed(),
                                                             dropout.getStep(), dropout.getId()));
        return success();
      })
      .Default([](Operation *) { return failure(); });
}

LogicalResult llmopt::applyVJP(Operation *op, Value gradient, const VJPContext &context) {
  for (auto *rules : {applyElementwiseVJP, applyShapeVJP, applyGatherVJP, applyReduceVJP, applyMatmulVJP,
                      applyQuantizeVJP, applyTransformerVJP})
    if (succeeded(rules(op, gradient, context)))
      return success();
  return failure();
}
