// Matrix products and convolution: one f64 sum per result element, in the order
// of the contracted index (integers modulo 2^64).
#include "EvalOps.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

namespace {

/// [B.., M, K] x [B.., K, N], leading dimensions equal already.
Result multiply(const Tensor &a, const Tensor &b) {
  int64_t rank = a.getRank(), m = a.getDim(rank - 2), k = a.getDim(rank - 1), n = b.getDim(rank - 1);
  Dims dims(a.getDims());
  dims.back() = n;
  Result result = Tensor::create(a.getElementType(), dims);
  if (!result || result->getNumElements() == 0)
    return result;
  MutableArrayRef<double> floats = result->mutableFloats();
  MutableArrayRef<int64_t> ints = result->mutableInts();
  int64_t batches = result->getNumElements() / (m * n);
  std::vector<double> row(n);
  std::vector<uint64_t> intRow(n);
  for (int64_t p = 0; p < batches; ++p)
    for (int64_t i = 0; i < m; ++i) {
      std::fill(row.begin(), row.end(), 0.0);
      std::fill(intRow.begin(), intRow.end(), 0);
      for (int64_t l = 0; l < k; ++l) {
        int64_t left = (p * m + i) * k + l, right = (p * k + l) * n;
        if (a.isFloat()) {
          for (int64_t j = 0; j < n; ++j)
            row[j] += a.floats()[left] * b.floats()[right + j];
        } else {
          for (int64_t j = 0; j < n; ++j)
            intRow[j] += static_cast<uint64_t>(a.ints()[left]) * static_cast<uint64_t>(b.ints()[right + j]);
        }
      }
      for (int64_t j = 0; j < n; ++j) {
        int64_t to = (p * m + i) * n + j;
        if (a.isFloat())
          floats[to] = row[j];
        else
          ints[to] = wrapToType(a.getElementType(), static_cast<int64_t>(intRow[j]));
      }
    }
  return result;
}

void roundAll(Tensor &tensor) {
  for (double &value : tensor.mutableFloats())
    value = roundToType(tensor.getElementType(), value);
}

Result evaluateMatMul(const Tensor &lhs, const Tensor &rhs) {
  bool row = lhs.getRank() == 1, column = rhs.getRank() == 1;
  Tensor a = row ? lhs.reshaped({1, lhs.getDim(0)}) : lhs;
  Tensor b = column ? rhs.reshaped({rhs.getDim(0), 1}) : rhs;
  Dims aTail(a.getDims().take_back(2)), bTail(b.getDims().take_back(2));
  if (aTail[1] != bTail[0])
    return fail("expected equal contracted dimensions, but got {0} and {1}", text(lhs.getDims()), text(rhs.getDims()));
  llvm::Expected<Dims> lead = broadcastShapes({a.getDims().drop_back(2), b.getDims().drop_back(2)});
  if (!lead)
    return lead.takeError();
  Dims aShape(*lead), bShape(*lead);
  aShape.append(aTail);
  bShape.append(bTail);
  Result left = broadcastTo(a, aShape);
  if (!left)
    return left;
  Result right = broadcastTo(b, bShape);
  if (!right)
    return right;
  Result result = multiply(*left, *right);
  if (!result)
    return result;
  roundAll(*result);
  Dims dims(*lead);
  if (!row)
    dims.push_back(aTail[0]);
  if (!column)
    dims.push_back(bTail[1]);
  return result->reshaped(dims);
}

/// Product and bias are rounded once, together.
Result evaluateLinear(LinearOp op, ArrayRef<Tensor> in) {
  const Tensor &input = in[0];
  Tensor weight = in[1];
  if (op.getTransposeWeight()) {
    Result transposed = stridedCopy(weight, {weight.getDim(1), weight.getDim(0)}, 0, {1, weight.getDim(1)});
    if (!transposed)
      return transposed;
    weight = *transposed;
  }
  int64_t k = weight.getDim(0), n = weight.getDim(1), rows = *countElements(input.getDims().drop_back());
  if (input.getDims().back() != k)
    return fail("expected a weight for {0} inputs, but got {1}", input.getDims().back(), text(in[1].getDims()));
  Result result = multiply(input.reshaped({rows, k}), weight);
  if (!result)
    return result;
  if (op.getBias()) {
    const Tensor &bias = in[2];
    if (bias.getNumElements() != n)
      return fail("expected a bias of {0} elements, but got {1}", n, text(bias.getDims()));
    MutableArrayRef<double> out = result->mutableFloats();
    for (int64_t i = 0; i < rows * n; ++i)
      out[i] += bias.floats()[i % n];
  }
  roundAll(*result);
  Dims dims(input.getDims());
  dims.back() = n;
  return result->reshaped(dims);
}

Result evaluateConv(ConvOp op, ArrayRef<Tensor> in) {
  const Tensor &input = in[0], &weight = in[1];
  int64_t spatial = input.getRank() - 2, groups = op.getGroups();
  int64_t channels = weight.getDim(1), outputs = weight.getDim(0);
  if (input.getDim(1) != channels * groups || outputs % groups != 0)
    return fail("expected channels that fit {0} groups, but got {1} and {2}", groups, text(input.getDims()),
                text(weight.getDims()));
  ArrayRef<int64_t> strides = op.getStrides(), pads = op.getPads(), dilations = op.getDilations();
  Dims dims = {input.getDim(0), outputs}, kernel(weight.getDims().drop_front(2));
  for (int64_t i = 0; i < spatial; ++i) {
    int64_t room = input.getDim(2 + i) + pads[i] + pads[spatial + i] - (dilations[i] * (kernel[i] - 1) + 1);
    if (room < 0)
      return fail("expected an input at least as large as the kernel, but got {0} and {1}", text(input.getDims()),
                  text(weight.getDims()));
    dims.push_back(room / strides[i] + 1);
  }
  Result result = Tensor::create(input.getElementType(), dims);
  if (!result)
    return result;
  Dims outStrides = rowMajorStrides(dims), inStrides = rowMajorStrides(input.getDims());
  Dims kernelStrides = rowMajorStrides(kernel);
  int64_t taps = *countElements(kernel);
  MutableArrayRef<double> floats = result->mutableFloats();
  MutableArrayRef<int64_t> ints = result->mutableInts();
  for (int64_t n = 0, count = result->getNumElements(); n < count; ++n) {
    int64_t batch = n / outStrides[0], m = n / outStrides[1] % outputs, group = m / (outputs / groups);
    double sum = op.getBias() && input.isFloat() ? in[2].floats()[m] : 0.0;
    uint64_t total = op.getBias() && !input.isFloat() ? in[2].ints()[m] : 0;
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t t = 0; t < taps; ++t) {
        int64_t from = batch * inStrides[0] + (group * channels + c) * inStrides[1];
        bool inside = true;
        for (int64_t i = 0; i < spatial; ++i) {
          int64_t position = n / outStrides[2 + i] % dims[2 + i] * strides[i] - pads[i] +
                             t / kernelStrides[i] % kernel[i] * dilations[i];
          inside &= position >= 0 && position < input.getDim(2 + i);
          from += position * inStrides[2 + i];
        }
        int64_t at = (m * channels + c) * taps + t;
        if (inside && input.isFloat())
          sum += input.floats()[from] * weight.floats()[at];
        else if (inside)
          total += static_cast<uint64_t>(input.ints()[from]) * static_cast<uint64_t>(weight.ints()[at]);
      }
    if (input.isFloat())
      floats[n] = roundToType(input.getElementType(), sum);
    else
      ints[n] = wrapToType(input.getElementType(), static_cast<int64_t>(total));
  }
  return result;
}

} // namespace

std::optional<Result> eval::evaluateMatmuls(Operation *op, ArrayRef<Tensor> in, const SymbolBindings &) {
  return llvm::TypeSwitch<Operation *, std::optional<Result>>(op)
      .Case<MatMulOp>([&](auto) { return evaluateMatMul(in[0], in[1]); })
      .Case<LinearOp>([&](LinearOp linear) { return evaluateLinear(linear, in); })
      .Case<ConvOp>([&](ConvOp conv) { return evaluateConv(conv, in); })
      .Default([](Operation *) { return std::nullopt; });
}
