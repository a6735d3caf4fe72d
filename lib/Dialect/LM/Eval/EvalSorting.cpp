// Sorting, and what selects a number of elements that depends on data.
#include "EvalOps.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <numeric>

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

namespace {

/// -1, 0 or 1; NaN is larger than every number, and equal to itself.
int compareElements(const Tensor &x, int64_t i, int64_t j) {
  if (x.isFloat()) {
    double a = x.floats()[i], b = x.floats()[j];
    if (std::isnan(a) || std::isnan(b))
      return int(std::isnan(a)) - int(std::isnan(b));
    return int(a > b) - int(a < b);
  }
  int64_t a = x.ints()[i], b = x.ints()[j];
  if (x.isUnsigned())
    return int(static_cast<uint64_t>(a) > static_cast<uint64_t>(b)) -
           int(static_cast<uint64_t>(a) < static_cast<uint64_t>(b));
  return int(a > b) - int(a < b);
}

Result evaluateArgSort(ArgSortOp op, const Tensor &input, const SymbolBindings &bindings) {
  auto dims = requireDims(op.getType(), bindings);
  if (!dims)
    return dims.takeError();
  Result result = Tensor::create(getElementTypeOrSelf(op.getType()), *dims);
  if (!result)
    return result;
  int64_t axis = op.getAxis(), count = (*dims)[axis];
  AxisView view(input.getDims(), axis);
  if (count > view.size)
    return fail("expected at most {0} indices, but got {1}", view.size, count);
  bool lexicographic = op.getLexicographic();
  int64_t width = lexicographic ? view.inner : 1, inner = lexicographic ? 1 : view.inner;
  int sign = op.getDescending() ? -1 : 1;
  for (int64_t o = 0; o < view.outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      SmallVector<int64_t> order(view.size);
      std::iota(order.begin(), order.end(), 0);
      llvm::sort(order, [&](int64_t a, int64_t b) {
        for (int64_t m = 0; m < width; ++m) {
          int64_t offset = lexicographic ? m : i;
          int order = sign * compareElements(input, (o * view.size + a) * view.inner + offset,
                                             (o * view.size + b) * view.inner + offset);
          if (order)
            return order < 0;
        }
        return a < b; // equal ones in order
      });
      for (int64_t k = 0; k < count; ++k)
        result->mutableInts()[(o * count + k) * inner + i] = order[k];
    }
  return result;
}

Result evaluateTrueIndices(TrueIndicesOp op, const Tensor &mask) {
  SmallVector<int64_t> indices;
  for (auto [i, value] : llvm::enumerate(mask.ints()))
    if (value)
      indices.push_back(i);
  Type i64 = getElementTypeOrSelf(op.getType());
  int64_t count = indices.size();
  return count ? Tensor::fromInts(i64, {count}, indices) : Tensor::create(i64, {0});
}

/// Corners, lower ones first.
struct Box {
  double low[2], high[2];
  double area() const { return (high[0] - low[0]) * (high[1] - low[1]); }
};

Box boxAt(const Tensor &boxes, int64_t number, bool isCenter) {
  ArrayRef<double> p = boxes.floats().slice(number * 4, 4);
  Box box;
  for (int d = 0; d < 2; ++d) {
    double half = p[2 + d] / 2;
    box.low[d] = isCenter ? p[d] - half : std::min(p[d], p[2 + d]);
    box.high[d] = isCenter ? p[d] + half : std::max(p[d], p[2 + d]);
  }
  return box;
}

bool overlaps(const Box &a, const Box &b, double threshold) {
  double intersection = 1;
  for (int d = 0; d < 2; ++d)
    intersection *= std::max(std::min(a.high[d], b.high[d]) - std::max(a.low[d], b.low[d]), 0.0);
  double whole = a.area() + b.area() - intersection;
  return intersection > 0 && whole > 0 && intersection / whole > threshold;
}

Result evaluateSuppression(NonMaxSuppressionOp op, ArrayRef<Tensor> in, const SymbolBindings &bindings) {
  auto dims = requireDims(op.getType(), bindings);
  if (!dims)
    return dims.takeError();
  Result result = Tensor::create(getElementTypeOrSelf(op.getType()), *dims);
  if (!result)
    return result;
  const Tensor &boxes = in[0], &scores = in[1];
  int64_t numBoxes = scores.getDim(2), slots = (*dims)[2], limit = std::min(in[2].ints()[0], slots);
  if (boxes.getDim(0) != scores.getDim(0) || boxes.getDim(1) != numBoxes)
    return fail("expected a score for every box, but got {0} and {1}", text(boxes.getDims()), text(scores.getDims()));
  double threshold = in[3].floats()[0];
  for (int64_t row = 0; row < (*dims)[0] * (*dims)[1]; ++row) {
    ArrayRef<double> own = scores.floats().slice(row * numBoxes, numBoxes);
    SmallVector<int64_t> order(numBoxes), chosen;
    std::iota(order.begin(), order.end(), 0);
    llvm::sort(order, [&](int64_t a, int64_t b) {
      int order = compareElements(scores, row * numBoxes + a, row * numBoxes + b);
      return order ? order > 0 : a < b;
    });
    int64_t base = row / (*dims)[1] * numBoxes;
    for (int64_t i : order) {
      if (static_cast<int64_t>(chosen.size()) >= limit)
        break;
      if (in.size() > 4 && !(own[i] > in[4].floats()[0]))
        continue;
      Box box = boxAt(boxes, base + i, op.getCenterPointBox());
      if (llvm::none_of(chosen, [&](int64_t c) {
            return overlaps(boxAt(boxes, base + c, op.getCenterPointBox()), box, threshold);
          }))
        chosen.push_back(i);
    }
    for (int64_t k = 0; k < slots; ++k)
      result->mutableInts()[row * slots + k] = k < static_cast<int64_t>(chosen.size()) ? chosen[k] : -1;
  }
  return result;
}

} // namespace

std::optional<Result> eval::evaluateSorting(Operation *op, ArrayRef<Tensor> in, const SymbolBindings &bindings) {
  return llvm::TypeSwitch<Operation *, std::optional<Result>>(op)
      .Case<ArgSortOp>([&](ArgSortOp sort) { return evaluateArgSort(sort, in[0], bindings); })
      .Case<TrueIndicesOp>([&](TrueIndicesOp indices) { return evaluateTrueIndices(indices, in[0]); })
      .Case<NonMaxSuppressionOp>([&](NonMaxSuppressionOp nms) { return evaluateSuppression(nms, in, bindings); })
      .Default([](Operation *) { return std::nullopt; });
}
