// Attention written with matrix products and softmax: for what lm.attention lacks.
// That is soft capping, scores as an output, and numbers of heads or widths that are
// symbols.
#include "Ops/AttentionBuilder.h"

#include "Spatial.h"

#include <cmath>
#include <limits>

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

Value onnx_import::inverseRoot(Node &n, const SymExpr &size, mlir::Type type) {
  if (std::optional<int64_t> known = size.getConstant())
    return n.scalar(type, 1.0 / std::sqrt(static_cast<double>(std::max<int64_t>(*known, 1))));
  mlir::Type f64 = n.b.getF64Type();
  return n.cast(n.div(n.scalar(f64, 1), n.create<SqrtOp>(n.cast(sizeScalar(n, size), f64))), type);
}

Value onnx_import::repeatHeads(Node &n, Value x, const SymExpr &heads) {
  Dims d = n.dims(x);
  if (n.failed() || d.size() != 4 || d[1] == heads)
    return x;
  SymExpr group = n.quotient(heads, d[1], "the number of query heads");
  if (n.failed())
    return {};
  Value wide = n.broadcast(n.reshape(x, {d[0], d[1], 1, d[2], d[3]}), {d[0], d[1], group, d[2], d[3]});
  return n.reshape(wide, {d[0], heads, d[2], d[3]});
}

Value onnx_import::bothMasks(Node &n, Value a, Value b) { return a && b ? n.create<AndOp>(a, b) : a ? a : b; }

Value onnx_import::asAdditive(Node &n, Value additive, Value keep, mlir::Type type) {
  if (!keep)
    return additive;
  Value blocked = n.scalar(type, -std::numeric_limits<double>::infinity());
  return n.select(keep, additive ? additive : n.scalar(type, 0), blocked);
}

/// A mask as wide as the scores, where it is not known to broadcast to them.
static Value widened(Node &n, Value mask, const Dims &scores) {
  if (!mask || n.failed())
    return mask;
  mlir::FailureOr<Dims> joint = broadcastDims(n.dims(mask), scores);
  return mlir::succeeded(joint) && *joint == scores ? mask : n.broadcast(mask, scores);
}

Spelled onnx_import::spellOut(Node &n, const SpelledParts &p) {
  Spelled result;
  Dims q = n.dims(p.query), k = n.dims(p.key);
  if (n.failed() || q.size() != 4 || k.size() != 4)
    return result;
  mlir::Type type = n.elem(p.query);
  Value keys = repeatHeads(n, p.key, q[1]), values = repeatHeads(n, p.value, q[1]);
  const Dims dims{q[0], q[1], q[2], k[2]};
  Value keep = p.keep;
  if (p.causal)
    keep = bothMasks(n, keep, causalMask(n, q[2], k[2], k[2] - q[2]));
  keep = widened(n, keep, dims);
  Value additive = widened(n, n.cast(p.additive, type), dims);
  Value bias = asAdditive(n, additive, keep, type);
  if (n.failed())
    return result;
  Value scale = p.scale != 0 ? n.scalar(type, p.scale) : inverseRoot(n, q[3], type);
  Value scores = n.mul(n.create<MatMulOp>(p.query, n.swapLast(keys)), scale), capped = scores;
  if (p.cap != 0)
    capped = n.mul(n.create<TanhOp>(n.div(scores, n.scalar(type, p.cap))), p.cap);
  Value biased = bias ? n.add(capped, bias) : capped;
  if (p.fullyMasked == FullyMasked::Source && keep) {
    // Where no key is left, all are.
    mlir::Type i32 = n.b.getI32Type();
    Value any = n.reduce(ReduceKind::Max, n.cast(keep, i32), {3});
    biased = n.select(n.compare(Predicate::GT, any, n.scalar(i32, 0)), biased, n.scalar(type, 0));
  }
  Value wide = p.precision ? n.cast(biased, p.precision) : biased;
  Value weights = n.cast(n.create<SoftmaxOp>(wide, 3, false), type);
  if (p.fullyMasked == FullyMasked::Zero && bias) {
    Value most = n.reduce(ReduceKind::Max, bias, {3});
    Value blocked = n.scalar(type, -std::numeric_limits<double>::infinity());
    weights = n.select(n.compare(Predicate::EQ, most, blocked), n.scalar(type, 0), weights);
  }
  result.stages = {scores, capped, biased, weights};
  result.result = n.create<MatMulOp>(weights, values);
  return result;
}
