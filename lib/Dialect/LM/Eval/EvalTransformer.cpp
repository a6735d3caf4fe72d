// Raised transformer operations. Everything inside one operation is f64, with
// the one exception that attention states.
#include "EvalOps.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

Result evaluateNorm(NormOp op, ArrayRef<Tensor> in) {
  Tensor result = in[0];
  int64_t width = in[0].getDims().back(), rows = width ? in[0].getNumElements() / width : 0;
  size_t next = 1;
  ArrayRef<double> scale = op.getScale() ? in[next++].floats() : ArrayRef<double>();
  ArrayRef<double> bias = op.getBias() ? in[next++].floats() : ArrayRef<double>();
  for (ArrayRef<double> parameter : {scale, bias})
    if (!parameter.empty() && static_cast<int64_t>(parameter.size()) != width)
      return fail("expected scale and bias of {0} elements, but got {1}", width, parameter.size());
  double epsilon = op.getEpsilon().convertToDouble();
  MutableArrayRef<double> out = result.mutableFloats();
  for (int64_t r = 0; r < rows; ++r) {
    ArrayRef<double> x = in[0].floats().slice(r * width, width);
    double mean = 0, variance = 0;
    if (op.getKind() == NormKind::Layer) {
      for (double value : x)
        mean += value;
      mean /= static_cast<double>(width);
    }
    for (double value : x)
      variance += (value - mean) * (value - mean);
    double factor = 1 / std::sqrt(variance / static_cast<double>(width) + epsilon);
    for (int64_t i = 0; i < width; ++i) {
      double y = (x[i] - mean) * factor;
      y = scale.empty() ? y : y * scale[i];
      out[r * width + i] = roundToType(in[0].getElementType(), bias.empty() ? y : y + bias[i]);
    }
  }
  return result;
}

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
    int64_t q = (b * Sq + i) * N * D + n * D, k = (b * Sk + j) * Nkv * D + n / (N / Nkv) * D;
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

  /// softmax of one row into `weights`; what it gives without any visible key.
  void probabilities(int64_t b, int64_t n, int64_t i, std::vector<double> &weights) const {
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
        return;
      }
    }
    for (double &w : weights)
      sum += w = std::exp(w - largest);
    for (double &w : weights)
      w /= sum;
  }
};

Result evaluateAttention(AttentionOp op, ArrayRef<Tensor> in) {
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
  if (op.getMask()) {
    call.mask = in[3];
    if (op.getMaskKind() == MaskKind::KeyLengths) {
      if (call.mask.getNumElements() != call.B)
        return fail("expected {0} key lengths, but got {1}", call.B, call.mask.getNumElements());
    } else {
      Result mask = broadcastTo(in[3], {call.B, call.N, call.Sq, call.Sk});
      if (!mask)
        return mask;
      call.mask = *mask;
    }
  }
  Result result = Tensor::create(q.getElementType(), {call.B, call.Sq, call.N * call.Dv});
  if (!result)
    return result;
  MutableArrayRef<double> out = result->mutableFloats();
  std::vector<double> weights(call.Sk);
  for (int64_t b = 0; b < call.B; ++b)
    for (int64_t n = 0; n < call.N; ++n)
      for (int64_t i = 0; i < call.Sq; ++i) {
        call.probabilities(b, n, i, weights);
        for (int64_t d = 0; d < call.Dv; ++d) {
          double sum = 0;
          for (int64_t j = 0; j < call.Sk; ++j) {
            int64_t at = (b * call.Sk + j) * call.Nkv * call.Dv + n / (call.N / call.Nkv) * call.Dv + d;
            // A masked key counts for nothing, whatever its value holds.
            if (weights[j] != 0)
              sum += weights[j] * v.floats()[at];
          }
          out[(b * call.Sq + i) * call.N * call.Dv + n * call.Dv + d] = roundToType(q.getElementType(), sum);
        }
      }
  return result;
}

Result evaluateKVAppend(KVAppendOp op, ArrayRef<Tensor> in, const SymbolBindings &bindings) {
  llvm::Expected<Dims> past = requireValues(op.getPast(), bindings);
  if (!past)
    return past.takeError();
  int64_t B = in[1].getDim(0), C = in[0].getDim(1), S = in[1].getDim(1), W = in[1].getDim(2), P = (*past)[0];
  if (P < 0 || P + S > C || in[0].getDim(0) != B || in[0].getDim(2) != W)
    return fail("expected a cache of {0} sequences of at least {1} tokens of {2}, but got {3}", B, P + S, W,
                text(in[0].getDims()));
  Result result = Tensor::create(in[1].getElementType(), {B, P + S, W});
  if (!result)
    return result;
  ElementCopier old(*result, in[0]), fresh(*result, in[1]);
  for (int64_t b = 0; b < B; ++b) {
    old.copy(b * (P + S) * W, b * C * W, P * W);
    fresh.copy((b * (P + S) + P) * W, b * S * W, S * W);
  }
  return result;
}

} // namespace

std::optional<Result> eval::evaluateTransformer(Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings) {
  return llvm::TypeSwitch<Operation *, std::optional<Result>>(op)
      .Case<NormOp>([&](NormOp norm) { return evaluateNorm(norm, in); })
      .Case<AttentionOp>([&](AttentionOp attention) { return evaluateAttention(attention, in); })
      .Case<KVAppendOp>([&](KVAppendOp append) { return evaluateKVAppend(append, in, bindings); })
      .Default([](Operation *) { return std::nullopt; });
}
