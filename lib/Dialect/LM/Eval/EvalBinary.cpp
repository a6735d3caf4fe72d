// Elementwise operations of two and three operands, with NumPy broadcasting.
#include "EvalOps.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace llmopt::lm;
using namespace llmopt::lm::eval;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Both operands, broadcast against each other.
llvm::Expected<std::pair<Tensor, Tensor>> broadcastPair(const Tensor &a, const Tensor &b) {
  llvm::Expected<Dims> dims = broadcastShapes({a.getDims(), b.getDims()});
  if (!dims)
    return dims.takeError();
  Result left = broadcastTo(a, *dims);
  if (!left)
    return left.takeError();
  Result right = broadcastTo(b, *dims);
  if (!right)
    return right.takeError();
  return std::make_pair(std::move(*left), std::move(*right));
}

template <typename FloatFn, typename IntFn> Result zipBoth(ArrayRef<Tensor> in, FloatFn floatFn, IntFn intFn) {
  auto pair = broadcastPair(in[0], in[1]);
  if (!pair)
    return pair.takeError();
  Tensor result = pair->first;
  Type type = result.getElementType();
  for (auto [a, b] : llvm::zip(result.mutableFloats(), pair->second.floats()))
    a = roundToType(type, floatFn(a, b));
  for (auto [a, b] : llvm::zip(result.mutableInts(), pair->second.ints()))
    a = wrapToType(type, intFn(a, b));
  return result;
}

bool lessThan(int64_t a, int64_t b, bool isUnsigned) {
  return isUnsigned ? static_cast<uint64_t>(a) < static_cast<uint64_t>(b) : a < b;
}

int64_t divide(int64_t a, int64_t b, bool isUnsigned) {
  if (isUnsigned)
    return static_cast<int64_t>(static_cast<uint64_t>(a) / static_cast<uint64_t>(b));
  return b == -1 ? static_cast<int64_t>(0 - static_cast<uint64_t>(a)) : a / b;
}

int64_t modulo(int64_t a, int64_t b, bool isUnsigned, bool fmod) {
  if (isUnsigned)
    return static_cast<int64_t>(static_cast<uint64_t>(a) % static_cast<uint64_t>(b));
  int64_t r = b == -1 ? 0 : a % b;
  return !fmod && r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

double modulo(double a, double b, bool fmod) {
  double r = std::fmod(a, b);
  return !fmod && r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/// base^exponent modulo 2^64; negative exponents truncate the reciprocal.
int64_t power(int64_t base, int64_t exponent) {
  if (exponent < 0)
    return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
  uint64_t result = 1, square = static_cast<uint64_t>(base);
  for (; exponent; exponent >>= 1, square *= square)
    if (exponent & 1)
      result *= square;
  return static_cast<int64_t>(result);
}

/// Nothing may be divided by 0, a tensor without elements may.
llvm::Error checkDivisor(const Tensor &dividend, const Tensor &divisor) {
  if (!divisor.isFloat() && dividend.getNumElements() && llvm::is_contained(divisor.ints(), 0))
    return fail("integer division by zero");
  return llvm::Error::success();
}

Result evaluatePow(ArrayRef<Tensor> in) {
  auto pair = broadcastPair(in[0], in[1]);
  if (!pair)
    return pair.takeError();
  const auto &[a, b] = *pair;
  if (!a.isFloat() && !b.isFloat()) {
    Tensor result = a;
    MutableArrayRef<int64_t> out = result.mutableInts();
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = wrapToType(a.getElementType(), power(out[i], b.ints()[i]));
    return result;
  }
  Result raised = Tensor::create(Float64Type::get(a.getElementType().getContext()), a.getDims());
  if (!raised)
    return raised;
  MutableArrayRef<double> out = raised->mutableFloats();
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = std::pow(a.asDouble(i), b.asDouble(i));
  return castTo(*raised, a.getElementType());
}

Result evaluateCompare(CompareOp op, ArrayRef<Tensor> in) {
  auto pair = broadcastPair(in[0], in[1]);
  if (!pair)
    return pair.takeError();
  const auto &[a, b] = *pair;
  Result result = Tensor::create(IntegerType::get(op.getContext(), 1), a.getDims());
  if (!result)
    return result;
  MutableArrayRef<int64_t> out = result->mutableInts();
  Predicate predicate = op.getPredicate();
  for (size_t i = 0; i < out.size(); ++i) {
    bool less = a.isFloat() ? a.floats()[i] < b.floats()[i] : lessThan(a.ints()[i], b.ints()[i], a.isUnsigned());
    bool equal = a.isFloat() ? a.floats()[i] == b.floats()[i] : a.ints()[i] == b.ints()[i];
    bool greater = a.isFloat() ? a.floats()[i] > b.floats()[i] : !less && !equal;
    switch (predicate) {
    case Predicate::EQ:
      out[i] = equal;
      break;
    case Predicate::LT:
      out[i] = less;
      break;
    case Predicate::LE:
      out[i] = less || equal;
      break;
    case Predicate::GT:
      out[i] = greater;
      break;
    case Predicate::GE:
      out[i] = greater || equal;
      break;
    }
  }
  return result;
}

Result evaluateWhere(ArrayRef<Tensor> in) {
  llvm::Expected<Dims> dims = broadcastShapes({in[0].getDims(), in[1].getDims(), in[2].getDims()});
  if (!dims)
    return dims.takeError();
  SmallVector<Tensor> operands;
  for (const Tensor &tensor : in) {
    Result operand = broadcastTo(tensor, *dims);
    if (!operand)
      return operand;
    operands.push_back(std::move(*operand));
  }
  Tensor result = operands[1];
  ElementCopier copier(result, operands[2]);
  for (auto [i, condition] : llvm::enumerate(operands[0].ints()))
    if (!condition)
      copier.copy(i, i);
  return result;
}

Result evaluateClip(ClipOp op, ArrayRef<Tensor> in) {
  Tensor result = in[0];
  size_t next = 1;
  for (bool isMin : {true, false}) {
    if (!(isMin ? op.getMin() : op.getMax()))
      continue;
    const Tensor &limit = in[next++];
    if (limit.getNumElements() != 1)
      return fail("expected a limit of one element, but got {0}", text(limit.getDims()));
    for (double &x : result.mutableFloats())
      if (isMin ? x < limit.floats()[0] : x > limit.floats()[0])
        x = limit.floats()[0];
    for (int64_t &x : result.mutableInts())
      if (isMin ? lessThan(x, limit.ints()[0], result.isUnsigned()) : lessThan(limit.ints()[0], x, result.isUnsigned()))
        x = limit.ints()[0];
  }
  return result;
}

} // namespace

std::optional<Result> eval::evaluateBinary(Operation *op, ArrayRef<Tensor> in, const SymbolBindings &) {
  auto wrapping = [](auto fn) {
    return [fn](int64_t a, int64_t b) {
      return static_cast<int64_t>(fn(static_cast<uint64_t>(a), static_cast<uint64_t>(b)));
    };
  };
  bool isUnsigned = !in.empty() && in[0].isUnsigned();
  auto logical = [&](auto fn) { return zipBoth(in, [](double a, double) { return a; }, fn); };
  return llvm::TypeSwitch<Operation *, std::optional<Result>>(op)
      .Case<AddOp>([&](auto) { return zipBoth(in, std::plus<double>(), wrapping(std::plus<uint64_t>())); })
      .Case<SubOp>([&](auto) { return zipBoth(in, std::minus<double>(), wrapping(std::minus<uint64_t>())); })
      .Case<MulOp>([&](auto) { return zipBoth(in, std::multiplies<double>(), wrapping(std::multiplies<uint64_t>())); })
      .Case<DivOp>([&](auto) -> Result {
        if (llvm::Error error = checkDivisor(in[0], in[1]))
          return std::move(error);
        return zipBoth(in, std::divides<double>(), [&](int64_t a, int64_t b) { return divide(a, b, isUnsigned); });
      })
      .Case<ModOp>([&](ModOp mod) -> Result {
        if (llvm::Error error = checkDivisor(in[0], in[1]))
          return std::move(error);
        bool fmod = mod.getFmod();
        return zipBoth(
            in, [&](double a, double b) { return modulo(a, b, fmod); },
            [&](int64_t a, int64_t b) { return modulo(a, b, isUnsigned, fmod); });
      })
      .Case<MinOp>([&](auto) {
        return zipBoth(
            in, [](double a, double b) { return std::isunordered(a, b) ? kNaN
                                                : b < a                ? b
                                                                       : a; },
            [&](int64_t a, int64_t b) { return lessThan(b, a, isUnsigned) ? b : a; });
      })
      .Case<MaxOp>([&](auto) {
        return zipBoth(
            in, [](double a, double b) { return std::isunordered(a, b) ? kNaN
                                                : a < b                ? b
                                                                       : a; },
            [&](int64_t a, int64_t b) { return lessThan(a, b, isUnsigned) ? b : a; });
      })
      .Case<AndOp>([&](auto) { return logical([](int64_t a, int64_t b) { return a & b; }); })
      .Case<OrOp>([&](auto) { return logical([](int64_t a, int64_t b) { return a | b; }); })
      .Case<XorOp>([&](auto) { return logical([](int64_t a, int64_t b) { return a ^ b; }); })
      .Case<PowOp>([&](auto) { return evaluatePow(in); })
      .Case<CompareOp>([&](CompareOp compare) { return evaluateCompare(compare, in); })
      .Case<WhereOp>([&](auto) { return evaluateWhere(in); })
      .Case<ClipOp>([&](ClipOp clip) { return evaluateClip(clip, in); })
      .Default([](Operation *) { return std::nullopt; });
}
