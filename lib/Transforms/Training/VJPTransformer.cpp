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

/// [B, S, N*D] -> [B, N, S, D].
Value splitHeads(const VJPContext &c, Value value, int64_t heads) {
  SmallVector<SymExpr> dims = getDims(value);
  Value split = c.reshape(value, {dims[0], dims[1], heads, *SymExpr::divideExactly(dims[2], heads)});
  return c.transpose(split, {0, 2, 1, 3});
}

Value mergeHeads(const VJPContext &c, Value value) {
  SmallVector<SymExpr> dims = getDims(value);
  return c.reshape(c.transpose(value, {0, 2, 1, 3}), {dims[0], dims[2], dims[1] * dims[3]});
}

/// Attention is recomputed: P = softmax(scale Q K^T + mask); dV = P^T g,
/// dP = g V^T, dS = P (dP - sum dP P), dQ = scale dS K, dK = scale dS^T Q.
LogicalResult attentionVJP(AttentionOp op, Value g, const VJPContext &c) {
  int64_t heads = op.getNumHeads();
  if (op.getKvNumHeads() != op.getNumHeads() || op.getCausal() || c.isActive(op.getMask()) ||
      (op.getMaskKind() != MaskKind::None && op.getMaskKind() != MaskKind::Additive))
    return failure();
  double scale = op.getScale().convertToDouble();
  Value q = splitHeads(c, op.getQuery(), heads), k = splitHeads(c, op.getKey(), heads),
        v = splitHeads(c, op.getValue(), heads), gh = splitHeads(c, g, heads);
  Value scores = c.mul(c.matmul(q, c.transposeMatrix(k)), scale);
  if (op.getMask())
    scores = c.add(scores, op.getMask());
  Value p = c.create<SoftmaxOp>(scores, c.builder.getI64IntegerAttr(3), c.builder.getBoolAttr(false));
  c.accumulate(op.getValue(), mergeHeads(c, c.matmul(c.transposeMatrix(p), gh)));
  if (!c.isActive(op.getQuery()) && !c.isActive(op.getKey()))
    return success();
  Value dp = c.matmul(gh, c.transposeMatrix(v));
  Value ds = c.mul(c.mul(p, c.sub(dp, c.sum(c.mul(dp, p), {3}, true))), scale);
  if (c.isActive(op.getQuery()))
    c.accumulate(op.getQuery(), mergeHeads(c, c.matmul(ds, k)));
  if (c.isActive(op.getKey()))
    c.accumulate(op.getKey(), mergeHeads(c, c.matmul(c.transposeMatrix(ds), q)));
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
      .Default([](Operation *) { return failure(); });
}

LogicalResult llmopt::applyVJP(Operation *op, Value gradient, const VJPContext &context) {
  for (auto *rules :
       {applyElementwiseVJP, applyShapeVJP, applyReduceVJP, applyMatmulVJP, applyQuantizeVJP, applyTransformerVJP})
    if (succeeded(rules(op, gradient, context)))
      return success();
  return failure();
}
