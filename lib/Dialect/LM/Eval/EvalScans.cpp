// Recurrences along an axis.
#include "EvalOps.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

namespace {

Result evaluateCumProd(CumProdOp op, const Tensor &input) {
  Tensor result = input;
  Type type = input.getElementType();
  AxisView view(input.getDims(), op.getAxis());
  for (int64_t o = 0; o < view.outer; ++o)
    for (int64_t i = 0; i < view.inner; ++i) {
      double product = 1;
      uint64_t total = 1;
      for (int64_t k = 0; k < view.size; ++k) {
        int64_t at = (o * view.size + (op.getReverse() ? view.size - 1 - k : k)) * view.inner + i;
        double before = product;
        uint64_t totalBefore = total;
        if (input.isFloat()) {
          product *= input.floats()[at];
          result.mutableFloats()[at] = roundToType(type, op.getExclusive() ? before : product);
        } else {
          total *= static_cast<uint64_t>(input.ints()[at]);
          result.mutableInts()[at] = wrapToType(type, static_cast<int64_t>(op.getExclusive() ? totalBefore : total));
        }
      }
    }
  return result;
}

Result evaluateLinearAttention(LinearAttentionOp op, ArrayRef<Tensor> in) {
  const Tensor &query = in[0], &key = in[1], &value = in[2];
  size_t next = 3;
  const Tensor *past = op.getPast() ? &in[next++] : nullptr, *decay = op.getDecay() ? &in[next++] : nullptr,
               *beta = op.getBeta() ? &in[next++] : nullptr;
  int64_t batch = query.getDim(0), length = query.getDim(1), heads = op.getNumHeads();
  int64_t dk = key.getDim(2) / heads, dv = value.getDim(2) / heads,
          group = query.getDim(2) / std::max<int64_t>(key.getDim(2), 1);
  for (const Tensor *t : {&key, &value, decay, beta})
    if (t && (t->getDim(0) != batch || t->getDim(1) != length))
      return fail("expected [{0}, {1}, ..], but got {2}", batch, length, text(t->getDims()));
  if (key.getDim(2) % heads || value.getDim(2) % heads || dk < 1 || query.getDim(2) != group * key.getDim(2))
    return fail("expected widths of {0} heads that agree, but got {1} and {2}", heads, text(query.getDims()),
                text(key.getDims()));
  if (past && past->getDims() != ArrayRef<int64_t>{batch, heads, dk, dv})
    return fail("expected a past state [{0}, {1}, {2}, {3}], but got {4}", batch, heads, dk, dv, text(past->getDims()));
  if (decay && decay->getDim(2) != heads && decay->getDim(2) != heads * dk)
    return fail("expected a decay of {0} or {1} columns, but got {2}", heads, heads * dk, text(decay->getDims()));
  if (beta && beta->getDim(2) != heads && beta->getDim(2) != 1)
    return fail("expected a beta of {0} columns or one, but got {1}", heads, text(beta->getDims()));
  int64_t rows = length * group + dk;
  Result result = Tensor::create(query.getElementType(), {batch, heads, rows, dv});
  if (!result)
    return result;
  double scale = op.getScale().convertToDouble();
  MutableArrayRef<double> out = result->mutableFloats();
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < heads; ++h) {
      std::vector<double> state(dk * dv, 0.0);
      if (past)
        llvm::copy(past->floats().slice((b * heads + h) * dk * dv, dk * dv), state.begin());
      int64_t base = (b * heads + h) * rows * dv;
      for (int64_t t = 0; t < length; ++t) {
        int64_t token = b * length + t;
        ArrayRef<double> k = key.floats().slice((token * heads + h) * dk, dk);
        std::vector<double> v(value.floats().begin() + (token * heads + h) * dv,
                              value.floats().begin() + (token * heads + h + 1) * dv);
        if (decay)
          for (int64_t d = 0; d < dk; ++d) {
            int64_t width = decay->getDim(2);
            double g = std::exp(decay->floats()[token * width + (width == heads ? h : h * dk + d)]);
            for (int64_t m = 0; m < dv; ++m)
              state[d * dv + m] *= g;
          }
        if (beta) {
          double rate = beta->floats()[token * beta->getDim(2) + (beta->getDim(2) == 1 ? 0 : h)];
          for (int64_t m = 0; m < dv; ++m) {
            double retrieved = 0;
            for (int64_t d = 0; d < dk; ++d)
              retrieved += state[d * dv + m] * k[d];
            v[m] = rate * (v[m] - retrieved);
          }
        }
        for (int64_t d = 0; d < dk; ++d)
          for (int64_t m = 0; m < dv; ++m)
            state[d * dv + m] += k[d] * v[m];
        for (int64_t g = 0; g < group; ++g) {
          ArrayRef<double> q = query.floats().slice(((token * heads + h) * group + g) * dk, dk);
          for (int64_t m = 0; m < dv; ++m) {
            double sum = 0;
            for (int64_t d = 0; d < dk; ++d)
              sum += q[d] * state[d * dv + m];
            out[base + (t * group + g) * dv + m] = scale * sum;
          }
        }
      }
      llvm::copy(state, out.begin() + base + length * group * dv);
    }
  for (double &x : out)
    x = roundToType(result->getElementType(), x);
  return result;
}

} // namespace

std::optional<Result> eval::evaluateScans(Operation *op, ArrayRef<Tensor> in, const SymbolBindings &) {
  return llvm::TypeSwitch<Operation *, std::optional<Result>>(op)
      .Case<CumProdOp>([&](CumProdOp scan) { return evaluateCumProd(scan, in[0]); })
      .Case<LinearAttentionOp>([&](LinearAttentionOp attention) { return evaluateLinearAttention(attention, in); })
      .Default([](Operation *) { return std::nullopt; });
}
