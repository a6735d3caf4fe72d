// Operations that move elements without looking at them, and those that make
// elements from indices.
#include "EvalOps.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

namespace {

Result evaluateReshape(ReshapeOp op, const Tensor &input, const SymbolBindings &bindings) {
  // One dimension without a value follows from the others.
  Dims dims;
  std::optional<size_t> open;
  for (auto [i, value] : llvm::enumerate(resolveDims(op.getType(), bindings))) {
    if (!value && open)
      return fail("expected all dimensions but one of {0} to be bound by an input", op.getType());
    if (!value)
      open = i;
    dims.push_back(value.value_or(1));
  }
  std::optional<int64_t> count = countElements(dims);
  if (open && count && *count > 0 && input.getNumElements() % *count == 0)
    dims[*open] = input.getNumElements() / *count;
  if (countElements(dims) != input.getNumElements())
    return fail("expected {0} elements for {1}, but got {2}", input.getNumElements(), op.getType(), text(dims));
  return input.reshaped(dims);
}

Result evaluateTranspose(TransposeOp op, const Tensor &input) {
  Dims dims, strides, own = rowMajorStrides(input.getDims());
  for (int64_t p : op.getPerm()) {
    dims.push_back(input.getDim(p));
    strides.push_back(own[p]);
  }
  return stridedCopy(input, dims, 0, strides);
}

Result evaluateConcat(ConcatOp op, ArrayRef<Tensor> in) {
  Dims dims(in[0].getDims());
  int64_t axis = op.getAxis();
  for (const Tensor &tensor : in.drop_front()) {
    for (int64_t i = 0; i < tensor.getRank(); ++i)
      if (i != axis && tensor.getDim(i) != dims[i])
        return fail("expected operands that differ along axis {0} only, but got {1} and {2}", axis, text(dims),
                    text(tensor.getDims()));
    if (llvm::AddOverflow(dims[axis], tensor.getDim(axis), dims[axis]))
      return fail("expected a size below 2^63 along axis {0}", axis);
  }
  Result result = Tensor::create(in[0].getElementType(), dims);
  if (!result)
    return result;
  AxisView all(dims, axis);
  int64_t offset = 0;
  for (const Tensor &tensor : in) {
    ElementCopier copier(*result, tensor);
    int64_t run = tensor.getDim(axis) * all.inner;
    for (int64_t o = 0; run > 0 && o < all.outer; ++o)
      copier.copy(o * all.size * all.inner + offset, o * run, run);
    offset += run;
  }
  return result;
}

Result evaluateSlice(SliceOp op, const Tensor &input, const SymbolBindings &bindings) {
  auto starts = requireValues(op.getStarts(), bindings);
  if (!starts)
    return starts.takeError();
  auto dims = requireDims(op.getType(), bindings);
  if (!dims)
    return dims.takeError();
  Dims strides = rowMajorStrides(input.getDims());
  int64_t base = 0;
  if (countElements(*dims) == 0)
    return Tensor::create(input.getElementType(), *dims);
  for (int64_t i = 0; i < input.getRank(); ++i) {
    int64_t start = (*starts)[i], step = op.getSteps()[i], reach, last, size = input.getDim(i);
    if (llvm::MulOverflow((*dims)[i] - 1, step, reach) || llvm::AddOverflow(start, reach, last) || start < 0 ||
        start >= size || last < 0 || last >= size)
      return fail("expected indices in [0, {0}) for dimension {1}, but got {2} elements from {3} by {4}", size, i,
                  (*dims)[i], start, step);
    base += start * strides[i];
    strides[i] *= step;
  }
  return stridedCopy(input, *dims, base, strides);
}

Result evaluatePad(PadOp op, const Tensor &input, const Tensor &value, const SymbolBindings &bindings) {
  auto low = requireValues(op.getLow(), bindings), high = requireValues(op.getHigh(), bindings);
  if (!low) {
    llvm::consumeError(high.takeError());
    return low.takeError();
  }
  if (!high)
    return high.takeError();
  Dims dims, strides;
  for (int64_t i = 0; i < input.getRank(); ++i) {
    int64_t size;
    if ((*low)[i] < 0 || (*high)[i] < 0 || llvm::AddOverflow(input.getDim(i), (*low)[i], size) ||
        llvm::AddOverflow(size, (*high)[i], size))
      return fail("expected pads that are not negative, but got {0} and {1}", text(*low), text(*high));
    dims.push_back(size);
  }
  if (value.getNumElements() != 1)
    return fail("expected one element as pad value, but got {0}", text(value.getDims()));
  Result filled = broadcastTo(value.reshaped({}), dims);
  if (!filled || input.getNumElements() == 0)
    return filled;
  strides = rowMajorStrides(dims);
  ElementCopier copier(*filled, input);
  Dims own = rowMajorStrides(input.getDims());
  for (int64_t from = 0; from < input.getNumElements(); ++from) {
    int64_t to = 0;
    for (int64_t i = 0; i < input.getRank(); ++i)
      to += (from / own[i] % input.getDim(i) + (*low)[i]) * strides[i];
    copier.copy(to, from);
  }
  return filled;
}

Result evaluateWindows(WindowsOp op, const Tensor &input) {
  Dims dims(input.getDims()), strides = rowMajorStrides(dims);
  for (auto [axis, size, stride, dilation] :
       llvm::zip(op.getAxes(), op.getSizes(), op.getStrides(), op.getDilations())) {
    int64_t room = dims[axis] - ((size - 1) * dilation + 1);
    if (room < 0)
      return fail("expected at least {0} elements along axis {1} for a window, but got {2}", (size - 1) * dilation + 1,
                  axis, dims[axis]);
    dims[axis] = room / stride + 1;
    dims.push_back(size);
    strides.push_back(strides[axis] * dilation);
    strides[axis] *= stride;
  }
  return stridedCopy(input, dims, 0, strides);
}

Result evaluateIota(IotaOp op, const SymbolBindings &bindings) {
  auto dims = requireDims(op.getType(), bindings);
  if (!dims)
    return dims.takeError();
  Type elementType = getElementTypeOrSelf(op.getType());
  Result result = Tensor::create(elementType, *dims);
  if (!result)
    return result;
  AxisView view(*dims, op.getAxis());
  for (int64_t i = 0, count = result->getNumElements(); i < count; ++i) {
    int64_t index = i / view.inner % view.size;
    if (result->isFloat())
      result->mutableFloats()[i] = roundToType(elementType, static_cast<double>(index));
    else
      result->mutableInts()[i] = wrapToType(elementType, index);
  }
  return result;
}

/// Keeps j >= i + diagonal (upper) or j <= i + diagonal (lower).
Result evaluateTrilu(TriluOp op, const Tensor &input) {
  Result result = Tensor::create(input.getElementType(), input.getDims());
  if (!result)
    return result;
  ElementCopier copier(*result, input);
  int64_t rows = input.getDim(input.getRank() - 2), columns = input.getDim(input.getRank() - 1);
  // Beyond the matrix every diagonal acts alike; clamping keeps i + diagonal small.
  int64_t diagonal = std::clamp<int64_t>(op.getDiagonal(), -rows - 1, columns + 1);
  for (int64_t n = 0, count = input.getNumElements(); n < count; ++n) {
    int64_t i = n / columns % rows, j = n % columns;
    if (op.getUpper() ? j >= i + diagonal : j <= i + diagonal)
      copier.copy(n, n);
  }
  return result;
}

} // namespace

std::optional<Result> eval::evaluateShapes(Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings) {
  return llvm::TypeSwitch<Operation *, std::optional<Result>>(op)
      .Case<ShapeOp>([&](auto) {
        return Tensor::fromInts(IntegerType::get(op->getContext(), 64), {in[0].getRank()}, in[0].getDims());
      })
      .Case<ReshapeOp>([&](ReshapeOp reshape) { return evaluateReshape(reshape, in[0], bindings); })
      .Case<BroadcastOp>([&](BroadcastOp broadcast) -> Result {
        auto dims = requireDims(broadcast.getType(), bindings);
        if (!dims)
          return dims.takeError();
        return broadcastTo(in[0], *dims);
      })
      .Case<TransposeOp>([&](TransposeOp transpose) { return evaluateTranspose(transpose, in[0]); })
      .Case<ConcatOp>([&](ConcatOp concat) { return evaluateConcat(concat, in); })
      .Case<SliceOp>([&](SliceOp slice) { return evaluateSlice(slice, in[0], bindings); })
      .Case<PadOp>([&](PadOp pad) { return evaluatePad(pad, in[0], in[1], bindings); })
      .Case<WindowsOp>([&](WindowsOp windows) { return evaluateWindows(windows, in[0]); })
      .Case<IotaOp>([&](IotaOp iota) { return evaluateIota(iota, bindings); })
      .Case<TriluOp>([&](TriluOp trilu) { return evaluateTrilu(trilu, in[0]); })
      .Default([](Operation *) { return std::nullopt; });
}
