// Gathers and the scatter that is their gradient: indices are checked, negative
// ones count from the end.
#include "EvalOps.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

llvm::Expected<int64_t> eval::indexAt(const Tensor &indices, int64_t i, int64_t size) {
  int64_t index = indices.ints()[i];
  bool fits = indices.isUnsigned() ? static_cast<uint64_t>(index) < static_cast<uint64_t>(size)
                                   : index >= -size && index < size;
  if (!fits)
    return fail("expected an index in [-{0}, {0}), but got {1}", size, index);
  return index < 0 ? index + size : index;
}

namespace {

Result evaluateGather(const Tensor &input, const Tensor &indices, int64_t axis) {
  Dims dims(input.getDims().take_front(axis));
  dims.append(indices.getDims().begin(), indices.getDims().end());
  dims.append(input.getDims().begin() + axis + 1, input.getDims().end());
  Result result = Tensor::create(input.getElementType(), dims);
  if (!result)
    return result;
  AxisView view(input.getDims(), axis);
  ElementCopier copier(*result, input);
  int64_t count = indices.getNumElements();
  for (int64_t i = 0; i < count; ++i) {
    llvm::Expected<int64_t> index = indexAt(indices, i, view.size);
    if (!index)
      return index.takeError();
    for (int64_t o = 0; o < view.outer; ++o)
      copier.copy((o * count + i) * view.inner, (o * view.size + *index) * view.inner, view.inner);
  }
  return result;
}

Result evaluateGatherElements(const Tensor &input, const Tensor &indices, int64_t axis) {
  Result result = Tensor::create(input.getElementType(), indices.getDims());
  if (!result)
    return result;
  ElementCopier copier(*result, input);
  if (llvm::Error error = forIndicesAlong(axis, indices, input.getDims(),
                                          [&](int64_t n, int64_t from) { copier.copy(n, from); }))
    return std::move(error);
  return result;
}

Result evaluateGatherND(const Tensor &input, const Tensor &indices, int64_t batchDims) {
  int64_t tuple = indices.getDims().back();
  ArrayRef<int64_t> batch = input.getDims().take_front(batchDims);
  if (indices.getDims().take_front(batchDims) != batch)
    return fail("expected equal batch dimensions, but got {0} and {1}", text(input.getDims()), text(indices.getDims()));
  Dims dims(indices.getDims().drop_back());
  dims.append(input.getDims().begin() + batchDims + tuple, input.getDims().end());
  Result result = Tensor::create(input.getElementType(), dims);
  if (!result || result->getNumElements() == 0)
    return result;
  ElementCopier copier(*result, input);
  Dims strides = rowMajorStrides(input.getDims());
  int64_t batches = *countElements(batch), tuples = indices.getNumElements() / tuple;
  int64_t run = *countElements(input.getDims().drop_front(batchDims + tuple));
  int64_t batchStride = input.getNumElements() / batches;
  for (int64_t n = 0; n < tuples; ++n) {
    int64_t from = n / (tuples / batches) * batchStride;
    for (int64_t t = 0; t < tuple; ++t) {
      llvm::Expected<int64_t> index = indexAt(indices, n * tuple + t, input.getDim(batchDims + t));
      if (!index)
        return index.takeError();
      from += *index * strides[batchDims + t];
    }
    copier.copy(n * run, from, run);
  }
  return result;
}

Result evaluateEmbeddingGrad(EmbeddingGradOp op, const Tensor &ids, const Tensor &gradient,
                             const SymbolBindings &bindings) {
  auto dims = requireDims(op.getType(), bindings);
  if (!dims)
    return dims.takeError();
  int64_t width = (*dims)[1];
  if (gradient.getDims().drop_back() != ids.getDims() || gradient.getDims().back() != width)
    return fail("expected gradient rows for every id, but got {0} and {1}", text(ids.getDims()),
                text(gradient.getDims()));
  Result result = Tensor::create(gradient.getElementType(), *dims);
  if (!result)
    return result;
  MutableArrayRef<double> out = result->mutableFloats();
  for (int64_t i = 0, count = ids.getNumElements(); i < count; ++i) {
    llvm::Expected<int64_t> row = indexAt(ids, i, (*dims)[0]);
    if (!row)
      return row.takeError();
    for (int64_t h = 0; h < width; ++h)
      out[*row * width + h] += gradient.floats()[i * width + h];
  }
  for (double &value : out)
    value = roundToType(result->getElementType(), value);
  return result;
}

} // namespace

std::optional<Result> eval::evaluateGathers(Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings) {
  return llvm::TypeSwitch<Operation *, std::optional<Result>>(op)
      .Case<GatherOp>([&](GatherOp gather) { return evaluateGather(in[0], in[1], gather.getAxis()); })
      .Case<EmbeddingOp>([&](auto) { return evaluateGather(in[0], in[1], 0); })
      .Case<EmbeddingGradOp>([&](EmbeddingGradOp grad) { return evaluateEmbeddingGrad(grad, in[0], in[1], bindings); })
      .Case<GatherElementsOp>(
          [&](GatherElementsOp gather) { return evaluateGatherElements(in[0], in[1], gather.getAxis()); })
      .Case<GatherNDOp>([&](GatherNDOp gather) { return evaluateGatherND(in[0], in[1], gather.getBatchDims()); })
      .Default([](Operation *) { return std::nullopt; });
}
