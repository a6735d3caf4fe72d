// Raised transformer operations but attention (EvalAttention.cpp). Everything inside
// one operation is f64.
#include "EvalOps.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

namespace {

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
      .Case<KVAppendOp>([&](KVAppendOp append) { return evaluateKVAppend(append, in, bindings); })
      .Default([](Operation *) { return std::nullopt; });
}
