// Reductions, scans and softmax: sums run in f64 (integers modulo 2^64) in
// row-major order.
#include "EvalOps.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

double reduceFloats(ReduceKind kind, ArrayRef<double> values) {
  double sum = 0, product = 1, absolute = 0, squares = 0, largest = -kInf, smallest = kInf;
  bool anyNaN = false;
  for (double x : values) {
    sum += x;
    product *= x;
    absolute += std::abs(x);
    squares += x * x;
    largest = std::max(largest, x);
    smallest = std::min(smallest, x);
    anyNaN |= std::isnan(x);
  }
  switch (kind) {
  case ReduceKind::Sum:
    return sum;
  case ReduceKind::Mean:
    return sum / static_cast<double>(values.size());
  case ReduceKind::Max:
    return anyNaN ? std::numeric_limits<double>::quiet_NaN() : largest;
  case ReduceKind::Min:
    return anyNaN ? std::numeric_limits<double>::quiet_NaN() : smallest;
  case ReduceKind::Prod:
    return product;
  case ReduceKind::L1:
    return absolute;
  case ReduceKind::L2:
    return std::sqrt(squares);
  case ReduceKind::SumSquare:
    return squares;
  case ReduceKind::LogSum:
    return std::log(sum);
  case ReduceKind::LogSumExp: {
    if (!std::isfinite(largest) || anyNaN)
      return anyNaN ? std::numeric_limits<double>::quiet_NaN() : largest;
    double scaled = 0;
    for (double x : values)
      scaled += std::exp(x - largest);
    return largest + std::log(scaled);
  }
  }
  return std::numeric_limits<double>::quiet_NaN();
}

/// Kinds that integers have; the others go by way of f64 (see evaluateReduce).
int64_t reduceInts(ReduceKind kind, ArrayRef<int64_t> values, Type type, bool isUnsigned) {
  auto less = [&](int64_t a, int64_t b) {
    return isUnsigned ? static_cast<uint64_t>(a) < static_cast<uint64_t>(b) : a < b;
  };
  unsigned width = type.getIntOrFloatBitWidth();
  int64_t lowest = isUnsigned ? 0 : wrapToType(type, static_cast<int64_t>(uint64_t(1) << (width - 1)));
  int64_t highest = isUnsigned ? wrapToType(type, -1) : wrapToType(type, ~(uint64_t(1) << (width - 1)));
  uint64_t sum = 0, product = 1, absolute = 0, squares = 0;
  int64_t largest = lowest, smallest = highest;
  for (int64_t x : values) {
    uint64_t u = static_cast<uint64_t>(x);
    sum += u;
    product *= u;
    absolute += !isUnsigned && x < 0 ? 0 - u : u;
    squares += u * u;
    largest = less(largest, x) ? x : largest;
    smallest = less(x, smallest) ? x : smallest;
  }
  switch (kind) {
  case ReduceKind::Mean:
    return isUnsigned ? static_cast<int64_t>(sum / values.size())
                      : static_cast<int64_t>(sum) / static_cast<int64_t>(values.size());
  case ReduceKind::Max:
    return largest;
  case ReduceKind::Min:
    return smallest;
  case ReduceKind::Prod:
    return static_cast<int64_t>(product);
  case ReduceKind::L1:
    return static_cast<int64_t>(absolute);
  case ReduceKind::SumSquare:
    return static_cast<int64_t>(squares);
  default:
    return static_cast<int64_t>(sum);
  }
}

Result evaluateReduce(ReduceOp op, const Tensor &input) {
  ReduceKind kind = op.getKind();
  Type type = input.getElementType();
  // Where the definition leaves the integers, compute in f64 and truncate.
  if (!input.isFloat() && llvm::is_contained({ReduceKind::L2, ReduceKind::LogSum, ReduceKind::LogSumExp}, kind)) {
    Result wide = castTo(input, Float64Type::get(op.getContext()));
    if (!wide)
      return wide;
    Result reduced = evaluateReduce(op, *wide);
    if (!reduced)
      return reduced;
    return castTo(*reduced, type);
  }
  Dims dims, keptSizes, keptStrides, reducedSizes, reducedStrides, strides = rowMajorStrides(input.getDims());
  for (int64_t i = 0; i < input.getRank(); ++i) {
    bool reduced = llvm::is_contained(op.getAxes(), i);
    (reduced ? reducedSizes : keptSizes).push_back(input.getDim(i));
    (reduced ? reducedStrides : keptStrides).push_back(strides[i]);
    if (!reduced || op.getKeepdims())
      dims.push_back(reduced ? 1 : input.getDim(i));
  }
  Result result = Tensor::create(type, dims);
  if (!result)
    return result;
  int64_t extent = countElements(reducedSizes).value_or(0);
  if (!input.isFloat() && kind == ReduceKind::Mean && extent == 0 && result->getNumElements() > 0)
    return fail("expected elements to take the mean of, but got {0}", text(input.getDims()));
  // Bring the reduced dimensions to the end; then every slice is contiguous.
  Dims order(keptSizes), orderStrides(keptStrides);
  order.append(reducedSizes.begin(), reducedSizes.end());
  orderStrides.append(reducedStrides.begin(), reducedStrides.end());
  Result sorted = stridedCopy(input, order, 0, orderStrides);
  if (!sorted)
    return sorted;
  for (int64_t i = 0, count = result->getNumElements(); i < count; ++i) {
    if (input.isFloat())
      result->mutableFloats()[i] = roundToType(type, reduceFloats(kind, sorted->floats().slice(i * extent, extent)));
    else
      result->mutableInts()[i] =
          wrapToType(type, reduceInts(kind, sorted->ints().slice(i * extent, extent), type, input.isUnsigned()));
  }
  return result;
}

/// The first (or last) extreme element; a NaN is more extreme than any number.
Result evaluateArgReduce(ArgReduceOp op, const Tensor &input) {
  int64_t axis = op.getAxis();
  Dims dims(input.getDims());
  if (op.getKeepdims())
    dims[axis] = 1;
  else
    dims.erase(dims.begin() + axis);
  Result result = Tensor::create(IntegerType::get(op.getContext(), 64), dims);
  if (!result)
    return result;
  AxisView view(input.getDims(), axis);
  if (view.size == 0 && result->getNumElements() > 0)
    return fail("expected elements along axis {0}, but got {1}", axis, text(input.getDims()));
  auto beats = [&](int64_t a, int64_t b) { // element a against the best so far
    if (input.isFloat()) {
      double x = input.floats()[a], y = input.floats()[b];
      if (std::isnan(x) || std::isnan(y))
        return !std::isnan(y) || (std::isnan(x) && op.getLast());
      return x == y ? op.getLast() : op.getSmallest() ? x < y : x > y;
    }
    int64_t x = input.ints()[a], y = input.ints()[b];
    if (x == y)
      return op.getLast();
    bool less = input.isUnsigned() ? static_cast<uint64_t>(x) < static_cast<uint64_t>(y) : x < y;
    return op.getSmallest() ? less : !less;
  };
  for (int64_t o = 0; o < view.outer; ++o)
    for (int64_t i = 0; i < view.inner; ++i) {
      int64_t best = 0, base = o * view.size * view.inner + i;
      for (int64_t k = 1; k < view.size; ++k)
        if (beats(base + k * view.inner, base + best * view.inner))
          best = k;
      result->mutableInts()[o * view.inner + i] = best;
    }
  return result;
}

Result evaluateCumSum(CumSumOp op, const Tensor &input) {
  Tensor result = input;
  Type type = input.getElementType();
  AxisView view(input.getDims(), op.getAxis());
  for (int64_t o = 0; o < view.outer; ++o)
    for (int64_t i = 0; i < view.inner; ++i) {
      double sum = 0;
      uint64_t total = 0;
      for (int64_t k = 0; k < view.size; ++k) {
        int64_t at = (o * view.size + (op.getReverse() ? view.size - 1 - k : k)) * view.inner + i;
        if (input.isFloat()) {
          double before = sum;
          sum += input.floats()[at];
          result.mutableFloats()[at] = roundToType(type, op.getExclusive() ? before : sum);
        } else {
          uint64_t before = total;
          total += static_cast<uint64_t>(input.ints()[at]);
          result.mutableInts()[at] = wrapToType(type, static_cast<int64_t>(op.getExclusive() ? before : total));
        }
      }
    }
  return result;
}

Result evaluateSoftmax(SoftmaxOp op, const Tensor &input) {
  Tensor result = input;
  MutableArrayRef<double> out = result.mutableFloats();
  AxisView view(input.getDims(), op.getAxis());
  for (int64_t o = 0; o < view.outer; ++o)
    for (int64_t i = 0; i < view.inner; ++i) {
      auto at = [&](int64_t k) { return (o * view.size + k) * view.inner + i; };
      double largest = -kInf, sum = 0;
      for (int64_t k = 0; k < view.size; ++k)
        largest = std::max(largest, input.floats()[at(k)]);
      for (int64_t k = 0; k < view.size; ++k)
        sum += std::exp(input.floats()[at(k)] - largest);
      for (int64_t k = 0; k < view.size; ++k) {
        double shifted = input.floats()[at(k)] - largest;
        out[at(k)] =
            roundToType(input.getElementType(), op.getLog() ? shifted - std::log(sum) : std::exp(shifted) / sum);
      }
    }
  return result;
}

} // namespace

std::optional<Result> eval::evaluateReductions(Operation *op, ArrayRef<Tensor> in, const SymbolBindings &) {
  return llvm::TypeSwitch<Operation *, std::optional<Result>>(op)
      .Case<ReduceOp>([&](ReduceOp reduce) { return evaluateReduce(reduce, in[0]); })
      .Case<ArgReduceOp>([&](ArgReduceOp reduce) { return evaluateArgReduce(reduce, in[0]); })
      .Case<CumSumOp>([&](CumSumOp scan) { return evaluateCumSum(scan, in[0]); })
      .Case<SoftmaxOp>([&](SoftmaxOp softmax) { return evaluateSoftmax(softmax, in[0]); })
      .Default([](Operation *) { return std::nullopt; });
}
