// Losses over classes.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// -log probability of each target, [N, d1, ..], reduced as the node says.
/// `logProbabilities` is [N, C, d1, ..], `target` [N, d1, ..].
static Value negativeLogLikelihood(Node &n, Value logProbabilities, Value target, Value weight) {
  std::string reduction = n.stringAttr("reduction", "mean");
  const int64_t ignoredIndex = n.intAttr("ignore_index", 0);
  if (reduction != "none" && reduction != "sum" && reduction != "mean")
    n.error("expected reduction to be none, sum or mean, but got '" + printable(reduction) + "'");
  if (!n.failed() && (n.rank(logProbabilities) < 2 || n.rank(target) != n.rank(logProbabilities) - 1))
    n.error("expected scores [N, C, ..] and targets [N, ..]");
  if (n.failed())
    return {};
  mlir::Type i64 = n.b.getI64Type(), type = n.elem(logProbabilities);
  target = n.cast(target, i64);
  Value counted;
  if (n.attr("ignore_index")) {
    // An ignored target may be no class at all.
    Value ignored = n.compare(Predicate::EQ, target, n.scalar(i64, ignoredIndex));
    target = n.select(ignored, n.scalar(i64, 0), target);
    counted = n.create<NotOp>(ignored);
  }
  Dims dims = n.dims(target), wide = dims;
  wide.insert(wide.begin() + 1, SymExpr(1));
  Value picked = n.create<GatherElementsOp>(logProbabilities, n.reshape(target, wide), 1);
  Value loss = n.create<NegOp>(n.reshape(picked, dims));
  Value scale = weight ? n.create<GatherOp>(n.cast(weight, type), target, 0) : Value();
  if (counted) {
    Value zero = n.scalar(type, 0);
    loss = n.select(counted, loss, zero);
    scale = scale ? n.select(counted, scale, zero) : n.cast(counted, type);
  }
  if (scale)
    loss = n.mul(loss, scale);
  if (reduction == "none")
    return loss;
  // One row: its sum runs in many partial sums, which round less.
  auto over = [&](ReduceKind kind, Value v) {
    return n.reduce(kind, n.reshape(v, {product(dims)}), {0}, /*keepDims=*/false);
  };
  if (reduction == "mean" && !scale)
    return over(ReduceKind::Mean, loss);
  Value sum = over(ReduceKind::Sum, loss);
  return reduction == "sum" ? sum : n.div(sum, over(ReduceKind::Sum, scale));
}

static void nllLoss(Node &n) { n.out(negativeLogLikelihood(n, n.in(0), n.in(1), n.opt(2))); }

static void softmaxCrossEntropy(Node &n) {
  Value scores = n.in(0);
  if (!n.failed() && n.rank(scores) < 2)
    n.error("expected scores [N, C, ..]");
  Value logProbabilities = n.create<SoftmaxOp>(scores, 1, /*log=*/true);
  n.out(0, negativeLogLikelihood(n, logProbabilities, n.in(1), n.opt(2)));
  n.out(1, logProbabilities);
}

void onnx_import::addLossOps(OpTable &t) {
  t.add(kOnnx, "NegativeLogLikelihoodLoss", nllLoss);
  t.add(kOnnx, "SoftmaxCrossEntropyLoss", softmaxCrossEntropy);
}
