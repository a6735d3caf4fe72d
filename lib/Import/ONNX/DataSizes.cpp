// Interval arithmetic over the operations that make a number, so that memory can
// be laid out for the most that may come. Integers are taken not to overflow, as
// everywhere where sizes are computed.
#include "DataSizes.h"

#include "mlir/IR/Matchers.h"
#include "mlir/IR/OperationSupport.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;

/// Computations behind a size are short; deeper ones get no bound.
static constexpr unsigned kMaxDepth = 64;
static constexpr size_t kMaxElements = 64;

static bool isNotNegative(const SymExpr &x) { return !x.isUnknown() && x.lowerBound().value_or(-1) >= 0; }

static Interval unite(const Interval &a, const Interval &b) {
  return {SymExpr::min(a.low, b.low), SymExpr::max(a.high, b.high)};
}

static Interval add(const Interval &a, const Interval &b) { return {a.low + b.low, a.high + b.high}; }

static Interval negate(const Interval &a) { return {SymExpr(0) - a.high, SymExpr(0) - a.low}; }

/// Of numbers that are not negative; of others nothing is said.
static Interval multiply(const Interval &a, const Interval &b) {
  return isNotNegative(a.low) && isNotNegative(b.low) ? Interval{a.low * b.low, a.high * b.high} : Interval();
}

static Interval divide(const Interval &a, const Interval &b) {
  bool isPlain = isNotNegative(a.low) && b.low.lowerBound().value_or(0) > 0;
  return isPlain ? Interval{0, SymExpr::floorDiv(a.high, b.low)} : Interval();
}

/// Either bound of `min`, where one is unknown, is the other's.
static SymExpr knownMin(const SymExpr &a, const SymExpr &b) {
  return a.isUnknown() ? b : b.isUnknown() ? a : SymExpr::min(a, b);
}
static SymExpr knownMax(const SymExpr &a, const SymExpr &b) {
  return a.isUnknown() ? b : b.isUnknown() ? a : SymExpr::max(a, b);
}

static Interval reduced(ReduceOp op, const Interval &x) {
  SmallVector<SymExpr> dims = getDims(op.getInput());
  SymExpr count = 1;
  for (int64_t axis : op.getAxes())
    count *= dims[axis];
  switch (op.getKind()) {
  case ReduceKind::Sum:
    return {isNotNegative(x.low) ? SymExpr(0) : SymExpr::unknown(),
            isNotNegative(x.low) ? x.high * count : SymExpr::unknown()};
  case ReduceKind::Max: // of nothing: the least number there is
    return {count.getConstant().value_or(0) > 0 ? x.low : SymExpr::unknown(), x.high};
  case ReduceKind::Min:
    return {x.low, count.getConstant().value_or(0) > 0 ? x.high : SymExpr::unknown()};
  default:
    return {};
  }
}

static Interval intervalOf(Value value, unsigned depth);

/// Of operations whose elements are elements of their operands.
static Interval ofAll(ValueRange operands, unsigned depth) {
  Interval all = intervalOf(operands.front(), depth);
  for (Value operand : operands.drop_front())
    all = unite(all, intervalOf(operand, depth));
  return all;
}

static Interval intervalOf(Value value, unsigned depth) {
  if (getElementTypeOrSelf(value).isInteger(1))
    return {0, 1};
  if (std::optional<SmallVector<SymExpr>> known = getSymbolicValue(value)) {
    if (known->empty() || known->size() > kMaxElements)
      return {};
    Interval all{known->front(), known->front()};
    for (const SymExpr &element : llvm::drop_begin(*known))
      all = unite(all, {element, element});
    return all;
  }
  Operation *op = value.getDefiningOp();
  if (!op || !isa<IntegerType>(getElementTypeOrSelf(value)) || depth == kMaxDepth)
    return {};
  auto of = [&](Value operand) { return intervalOf(operand, depth + 1); };
  auto upTo = [](const SymExpr &size) { return Interval{0, size - SymExpr(1)}; };
  return llvm::TypeSwitch<Operation *, Interval>(op)
      .Case<ReshapeOp, BroadcastOp, TransposeOp, SliceOp>([&](Operation *) { return of(op->getOperand(0)); })
      .Case([&](CastOp cast) {
        return isa<IntegerType>(getElementTypeOrSelf(cast.getInput())) ? of(cast.getInput()) : Interval();
      })
      .Case<GatherOp, GatherElementsOp, GatherNDOp>([&](Operation *) { return of(op->getOperand(0)); })
      .Case([&](ConcatOp concat) { return ofAll(concat.getInputs(), depth + 1); })
      .Case([&](AddOp add) { return ::add(of(add.getLhs()), of(add.getRhs())); })
      .Case([&](SubOp sub) { return ::add(of(sub.getLhs()), negate(of(sub.getRhs()))); })
      .Case([&](MulOp mul) { return multiply(of(mul.getLhs()), of(mul.getRhs())); })
      .Case([&](DivOp div) { return divide(of(div.getLhs()), of(div.getRhs())); })
      .Case([&](ModOp mod) {
        Interval divisor = of(mod.getRhs());
        bool isPositive = divisor.low.lowerBound().value_or(0) > 0 && !mod.getFmod();
        return isPositive ? Interval{0, divisor.high - SymExpr(1)} : Interval();
      })
      .Case([&](NegOp neg) { return negate(of(neg.getInput())); })
      .Case([&](MinOp min) {
        Interval a = of(min.getLhs()), b = of(min.getRhs());
        return Interval{SymExpr::min(a.low, b.low), knownMin(a.high, b.high)};
      })
      .Case([&](MaxOp max) {
        Interval a = of(max.getLhs()), b = of(max.getRhs());
        return Interval{knownMax(a.low, b.low), SymExpr::max(a.high, b.high)};
      })
      .Case([&](ReluOp relu) {
        Interval x = of(relu.getInput());
        return Interval{0, SymExpr::max(x.high, 0)};
      })
      .Case([&](WhereOp where) { return ofAll(op->getOperands().drop_front(), depth + 1); })
      .Case([&](ReduceOp reduce) { return reduced(reduce, of(reduce.getInput())); })
      .Case([&](CumSumOp sum) {
        Interval x = of(sum.getInput());
        return isNotNegative(x.low) ? Interval{0, x.high * getDims(sum.getInput())[sum.getAxis()]} : Interval();
      })
      .Case([&](ArgReduceOp arg) { return upTo(getDims(arg.getInput())[arg.getAxis()]); })
      .Case([&](ArgSortOp sort) { return upTo(getDims(sort.getInput())[sort.getAxis()]); })
      .Case([&](TrueIndicesOp indices) { return upTo(getDims(indices.getMask())[0]); })
      .Case([&](IotaOp iota) { return upTo(getDims(iota.getType())[iota.getAxis()]); })
      .Default([](Operation *) { return Interval(); });
}

Interval onnx_import::getInterval(Value value) { return intervalOf(value, 0); }

//===- Numbers that are the same -----------------------------------------------------===//

static Value withoutReshapes(Value value) {
  while (auto reshape = value.getDefiningOp<ReshapeOp>())
    value = reshape.getInput();
  return value;
}

/// The mask whose true elements the number counts; null where it counts none.
static Value getCountedMask(Value number) {
  auto sum = withoutReshapes(number).getDefiningOp<ReduceOp>();
  if (!sum || sum.getKind() != ReduceKind::Sum || sum.getAxes().size() != getDims(sum.getInput()).size())
    return {};
  auto cast = withoutReshapes(sum.getInput()).getDefiningOp<CastOp>();
  if (!cast || !getElementTypeOrSelf(cast.getInput()).isInteger(1))
    return {};
  return withoutReshapes(cast.getInput());
}

static bool isSame(Value a, Value b, unsigned depth) {
  if (a == b)
    return true;
  Operation *x = a.getDefiningOp(), *y = b.getDefiningOp();
  if (!x || !y || depth == 16 || x->getNumRegions() || !isMemoryEffectFree(x) ||
      cast<OpResult>(a).getResultNumber() != cast<OpResult>(b).getResultNumber())
    return false;
  auto same = [&](Value p, Value q) { return success(isSame(p, q, depth + 1)); };
  return OperationEquivalence::isEquivalentTo(x, y, same, nullptr, OperationEquivalence::IgnoreLocations);
}

bool onnx_import::isSameNumber(Value a, Value b) {
  Value x = getCountedMask(a), y = getCountedMask(b);
  if (x && y)
    return isSame(x, y, 0);
  return isSame(withoutReshapes(a), withoutReshapes(b), 0);
}
