// Attention and its gradients. Everything inside one operation is f64, with the one
// exception that scores with a mask state.
#include "EvalOps.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

/// One attention call with its sizes, named as in the description of the op.
struct Attention {
  MaskKind kind;
  FullyMasked fullyMasked;
  bool causal;
  double scale;
  const Tensor &query, &key, &value;
  Tensor mask; // additive and boolean: broadcast to [B, N, Sq, Sk]
  int64_t B, Sq, Sk, N, Nkv, D, Dv;

  /// The score of query row i of head n for key j; nullopt where the key is
  /// hidden by a boolean mask, a length or causality.
  std::optional<double> score(int64_t b, int64_t n, int64_t i, int64_t j) const {
    if (causal && j > i + Sk - Sq)
      return std::nullopt;
    int64_t at = ((b * N + n) * Sq + i) * Sk + j;
    if (kind == MaskKind::KeyLengths && j >= mask.ints()[b])
      return std::nullopt;
    if (kind == MaskKind::Boolean && !mask.ints()[at])
      return std::nullopt;
    double dot = 0;
    int64_t q = queryAt(b, n, i), k = keyAt(b, n, j);
    for (int64_t d = 0; d < D; ++d)
      dot += query.floats()[q + d] * key.floats()[k + d];
    double scaled = dot * scale;
    if (kind != MaskKind::Additive)
      return scaled;
    double sum = scaled + mask.floats()[at];
    // Where the source's own result is wanted, its rounding of the sum counts:
    // it decides what is left of a score below a mask value of -3.4e38.
    return fullyMasked == FullyMasked::Source ? roundToType(mask.getElementType(), sum) : sum;
  }

  /// softmax of one row into `weights`, or what it gives without any visible key:
  /// whether they depend on scores.
  bool probabilities(int64_t b, int64_t n, int64_t i, std::vector<double> &weights) const {
    double largest = -kInf, sum = 0;
    bool anyKey = false, anyVisible = false;
    for (int64_t j = 0; j < Sk; ++j) {
      std::optional<double> s = score(b, n, i, j);
      weights[j] = s.value_or(-kInf);
      anyKey |= s.has_value();
      anyVisible |= weights[j] != -kInf;
      largest = std::max(largest, weights[j]);
    }
    if (!anyVisible && fullyMasked != FullyMasked::NaN) {
      // The source fills hidden scores with one finite value: all keys alike.
      // Its additive -inf is another matter: NaN, as below.
      if (fullyMasked == FullyMasked::Zero || !anyKey) {
        double alike = fullyMasked == FullyMasked::Zero ? 0.0 : 1.0 / static_cast<double>(Sk);
        std::fill(weights.begin(), weights.end(), alike);
        return false;
      }
    }
    for (double &w : weights)
      sum += w = std::exp(w - largest);
    for (double &w : weights)
      w /= sum;
    return true;
  }

  int64_t queryAt(int64_t b, int64_t n, int64_t i) const { return (b * Sq + i) * N * D + n * D; }
  int64_t keyAt(int64_t b, int64_t n, int64_t j) const { return (b * Sk + j) * Nkv * D + n / (N / Nkv) * D; }
  int64_t valueAt(int64_t b, int64_t n, int64_t j) const { return (b * Sk + j) * Nkv * Dv + n / (N / Nkv) * Dv; }
  int64_t resultAt(int64_t b, int64_t n, int64_t i) const { return (b * Sq + i) * N * Dv + n * Dv; }

  /// fn(b, n, i) for every row of scores.
  template <typename Fn> void forRows(Fn fn) const {
    for (int64_t b = 0; b < B; ++b)
      for (int64_t n = 0; n < N; ++n)
        for (int64_t i = 0; i < Sq; ++i)
          fn(b, n, i);
  }
};

/// The sizes of `op`, of which `in` are query, key, value and perhaps a mask.
template <typename OpTy> llvm::Expected<Attention> prepare(OpTy op, ArrayRef<Tensor> in) {
  const Tensor &q = in[0], &k = in[1], &v = in[2];
  int64_t heads = op.getNumHeads(), kvHeads = op.getKvNumHeads();
  Attention call{op.getMaskKind(),
                 op.getFullyMasked(),
                 op.getCausal(),
                 op.getScale().convertToDouble(),
                 q,
                 k,
                 v,
                 {},
                 q.getDim(0),
                 q.getDim(1),
                 k.getDim(1),
                 heads,
                 kvHeads,
                 q.getDim(2) / heads,
                 v.getDim(2) / kvHeads};
  if (k.getDim(0) != call.B || v.getDim(0) != call.B || v.getDim(1) != call.Sk || q.getDim(2) != heads * call.D ||
      k.getDim(2) != kvHeads * call.D || v.getDim(2) != kvHeads * call.Dv)
    return fail("expected query, key and value that fit {0} and {1} heads, but got {2}, {3} and {4}", heads, kvHeads,
                text(q.getDims()), text(k.getDims()), text(v.getDims()));
  if (!op.getMask())
    return call;
  call.mask = in[3];
  if (op.getMaskKind() == MaskKind::KeyLengths) {
    if (call.mask.getNumElements() != call.B)
      return fail("expected {0} key lengths, but got {1}", call.B, call.mask.getNumElements());
    return call;
  }
  Result mask = broadcastTo(in[3], {call.B, call.N, call.Sq, call.Sk});
  if (!mask)
    return mask.takeError();
  call.mask = *mask;
  return call;
}

Result evaluateAttention(AttentionOp op, ArrayRef<Tensor> in) {
  llvm::Expected<Attention> call = prepare(op, in);
  if (!call)
    return call.takeError();
  Type element = in[0].getElementType();
  Result result = Tensor::create(element, {call->B, call->Sq, call->N * call->Dv});
  if (!result)
    return result;
  MutableArrayRef<double> out = result->mutableFloats();
  ArrayRef<double> v = in[2].floats();
  std::vector<double> weights(call->Sk);
  call->forRows([&](int64_t b, int64_t n, int64_t i) {
    call->probabilities(b, n, i, weights);
    for (int64_t d = 0; d < call->Dv; ++d) {
      double sum = 0;
      for (int64_t j = 0; j < call->Sk; ++j)
        if (weights[j] != 0) // a masked key counts for nothing, whatever its value holds
          sum += weights[j] * v[call->valueAt(b, n, j) + d];
      out[call->resultAt(b, n, i) + d] = roundToType(element, sum);
    }
  });
  return result;
}

Result evaluateAttentionGrad(AttentionGradOp op, ArrayRef<Tensor> in) {
  llvm::Expected<Attention> call = prepare(op, in);
  if (!call)
    return call.takeError();
  const Tensor &gradient = in.back();
  if (gradient.getDims() != ArrayRef<int64_t>{call->B, call->Sq, call->N * call->Dv})
    return fail("expected a gradient of {0}, but got {1}", text({call->B, call->Sq, call->N * call->Dv}),
                text(gradient.getDims()));
  AttentionOperand of = op.getOf();
  Dims dims = of == AttentionOperand::Mask ? Dims{call->B, call->N, call->Sq, call->Sk}
                                           : Dims(in[static_cast<size_t>(of)].getDims());
  Result result = Tensor::create(getElementTypeOrSelf(op.getType()), dims);
  if (!result)
    return result;
  MutableArrayRef<double> out = result->mutableFloats();
  ArrayRef<double> q = in[0].floats(), k = in[1].floats(), v = in[2].floats(), g = gradient.floats();
  std::vector<double> weights(call->Sk), dp(call->Sk);
  call->forRows([&](int64_t b, int64_t n, int64_t i) {
    bool depends = call->probabilities(b, n, i, weights);
    int64_t row = call->resultAt(b, n, i);
    if (of == AttentionOperand::Value) {
      for (int64_t j = 0; j < call->Sk; ++j)
        for (int64_t d = 0; d < call->Dv && weights[j] != 0; ++d)
          out[call->valueAt(b, n, j) + d] += weights[j] * g[row + d];
      return;
    }
    if (!depends)
      return;
    double mean = 0;
    for (int64_t j = 0; j < call->Sk; ++j) {
      dp[j] = 0;
      for (int64_t d = 0; d < call->Dv && weights[j] != 0; ++d)
        dp[j] += g[row + d] * v[call->valueAt(b, n, j) + d];
      mean += weights[j] * dp[j];
    }
    for (int64_t j = 0; j < call->Sk; ++j) {
      double ds = weights[j] == 0 ? 0 : weights[j] * (dp[j] - mean);
      if (of == AttentionOperand::Mask)
        out[((b * call->N + n) * call->Sq + i) * call->Sk + j] = ds;
      for (int64_t d = 0; d < call->D && weights[j] != 0; ++d)
        if (of == AttentionOperand::Query)
          out[call->queryAt(b, n, i) + d] += call->scale * ds * k[call->keyAt(b, n, j) + d];
        else if (of == AttentionOperand::Key)
          out[call->keyAt(b, n, j) + d] += call->scale * ds * q[call->queryAt(b, n, i) + d];
    }
  });
  for (double &x : out)
    x = roundToType(result->getElementType(), x);
  return result;
}

} // namespace

std::optional<Result> eval::evaluateAttentions(Operation *op, ArrayRef<Tensor> in, const SymbolBindings &) {
  return llvm::TypeSwitch<Operation *, std::optional<Result>>(op)
      .Case<AttentionOp>([&](AttentionOp attention) { return evaluateAttention(attention, in); })
      .Case<AttentionGradOp>([&](AttentionGradOp grad) { return evaluateAttentionGrad(grad, in); })
      .Default([](Operation *) { return std::nullopt; });
}
