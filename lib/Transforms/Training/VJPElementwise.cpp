// Gradients of elementwise operations. g is the gradient of the result y.
#include "VJPRules.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// g where `condition`, else 0.
Value select(const VJPContext &c, Value condition, Value g) {
  return c.create<WhereOp>(condition, g, c.scalar(0.0, getElementTypeOrSelf(g)));
}

Value compare(const VJPContext &c, Predicate predicate, Value a, Value b) {
  return c.create<CompareOp>(predicate, a, b);
}

LogicalResult powVJP(PowOp op, Value g, const VJPContext &c) {
  Value a = op.getLhs(), b = op.getRhs();
  if (getElementTypeOrSelf(a) != getElementTypeOrSelf(b))
    return failure();
  if (c.isActive(a)) // b a^(b-1)
    c.accumulate(a, c.mul(g, c.mul(b, c.create<PowOp>(a, c.add(b, -1.0)))));
  if (c.isActive(b)) // a^b log a
    c.accumulate(b, c.mul(g, c.mul(op.getResult(), c.create<LogOp>(a))));
  return success();
}

/// The gradient goes to what was taken: the input, also at a bound, or a bound.
void clipVJP(ClipOp op, Value g, const VJPContext &c) {
  Value x = op.getInput(), y = op.getResult();
  if (Value low = op.getMin())
    c.accumulate(low, select(c, compare(c, Predicate::LT, x, y), g));
  if (Value high = op.getMax())
    c.accumulate(high, select(c, compare(c, Predicate::GT, x, y), g));
  c.accumulate(x, select(c, compare(c, Predicate::EQ, x, y), g));
}

/// The derivative of an inverse function by its argument x, or null.
Value inverseTrigSlope(Operation *op, Value x, const VJPContext &c) {
  Value one = c.scalar(1.0, getElementTypeOrSelf(x)), square = c.mul(x, x);
  auto inverseRoot = [&](Value v) { return c.create<ReciprocalOp>(c.create<SqrtOp>(v)); };
  if (isa<AsinOp>(op))
    return inverseRoot(c.sub(one, square));
  if (isa<AcosOp>(op))
    return c.neg(inverseRoot(c.sub(one, square)));
  if (isa<AtanOp>(op))
    return c.create<ReciprocalOp>(c.add(square, one));
  if (isa<AsinhOp>(op))
    return inverseRoot(c.add(square, one));
  if (isa<AcoshOp>(op))
    return inverseRoot(c.sub(square, one));
  if (isa<AtanhOp>(op))
    return c.create<ReciprocalOp>(c.sub(one, square));
  return {};
}

/// max and min: the gradient goes to the operand that was taken; on a tie to the
/// left one.
void extremumVJP(Value lhs, Value rhs, Predicate leftWins, Value g, const VJPContext &c) {
  Value left = compare(c, leftWins, lhs, rhs);
  c.accumulate(lhs, select(c, left, g));
  c.accumulate(rhs, select(c, c.create<NotOp>(left), g));
}

} // namespace

LogicalResult llmopt::applyElementwiseVJP(Operation *op, Value g, const VJPContext &c) {
  Value y = op->getResult(0);
  Type element = getElementTypeOrSelf(y);
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<AddOp>([&](AddOp add) {
        c.accumulate(add.getLhs(), g);
        c.accumulate(add.getRhs(), g);
        return success();
      })
      .Case<SubOp>([&](SubOp sub) {
        c.accumulate(sub.getLhs(), g);
        if (c.isActive(sub.getRhs()))
          c.accumulate(sub.getRhs(), c.neg(g));
        return success();
      })
      .Case<MulOp>([&](MulOp mul) {
        if (c.isActive(mul.getLhs()))
          c.accumulate(mul.getLhs(), c.mul(g, mul.getRhs()));
        if (c.isActive(mul.getRhs()))
          c.accumulate(mul.getRhs(), c.mul(g, mul.getLhs()));
        return success();
      })
      .Case<DivOp>([&](DivOp div) {
        Value scaled = c.div(g, div.getRhs());
        c.accumulate(div.getLhs(), scaled);
        if (c.isActive(div.getRhs()))
          c.accumulate(div.getRhs(), c.neg(c.mul(scaled, y)));
        return success();
      })
      .Case<PowOp>([&](PowOp pow) { return powVJP(pow, g, c); })
      .Case<MaxOp>([&](MaxOp max) {
        extremumVJP(max.getLhs(), max.getRhs(), Predicate::GE, g, c);
        return success();
      })
      .Case<MinOp>([&](MinOp min) {
        extremumVJP(min.getLhs(), min.getRhs(), Predicate::LE, g, c);
        return success();
      })
      .Case<WhereOp>([&](WhereOp where) {
        c.accumulate(where.getLhs(), select(c, where.getCondition(), g));
        if (c.isActive(where.getRhs()))
          c.accumulate(where.getRhs(), select(c, c.create<NotOp>(where.getCondition()), g));
        return success();
      })
      .Case<CastOp>([&](CastOp cast) {
        Type from = getElementTypeOrSelf(cast.getInput());
        if (isa<FloatType>(from))
          c.accumulate(cast.getInput(), c.create<CastOp>(g, from));
        return success();
      })
      .Case<NegOp>([&](NegOp neg) {
        c.accumulate(neg.getInput(), c.neg(g));
        return success();
      })
      .Case<AbsOp>([&](AbsOp abs) {
        c.accumulate(abs.getInput(), c.mul(g, c.create<SignOp>(abs.getInput())));
        return success();
      })
      .Case<ExpOp>([&](ExpOp exp) {
        c.accumulate(exp.getInput(), c.mul(g, y));
        return success();
      })
      .Case<LogOp>([&](LogOp log) {
        c.accumulate(log.getInput(), c.div(g, log.getInput()));
        return success();
      })
      .Case<SqrtOp>([&](SqrtOp sqrt) {
        c.accumulate(sqrt.getInput(), c.div(c.mul(g, 0.5), y));
        return success();
      })
      .Case<ReciprocalOp>([&](ReciprocalOp reciprocal) {
        c.accumulate(reciprocal.getInput(), c.neg(c.mul(g, c.mul(y, y))));
        return success();
      })
      .Case<SinOp>([&](SinOp sin) {
        c.accumulate(sin.getInput(), c.mul(g, c.create<CosOp>(sin.getInput())));
        return success();
      })
      .Case<CosOp>([&](CosOp cos) {
        c.accumulate(cos.getInput(), c.neg(c.mul(g, c.create<SinOp>(cos.getInput()))));
        return success();
      })
      .Case<ErfOp>([&](ErfOp erf) { // 2/sqrt(pi) exp(-x^2)
        Value x = erf.getInput();
        Value slope = c.mul(c.create<ExpOp>(c.neg(c.mul(x, x))), 2.0 / std::sqrt(M_PI));
        c.accumulate(x, c.mul(g, slope));
        return success();
      })
      .Case<TanhOp>([&](TanhOp tanh) { // 1 - y^2
        c.accumulate(tanh.getInput(), c.mul(g, c.sub(c.scalar(1.0, element), c.mul(y, y))));
        return success();
      })
      .Case<SigmoidOp>([&](SigmoidOp sigmoid) { // y (1 - y)
        c.accumulate(sigmoid.getInput(), c.mul(g, c.mul(y, c.sub(c.scalar(1.0, element), y))));
        return success();
      })
      .Case<SoftplusOp>([&](SoftplusOp softplus) {
        c.accumulate(softplus.getInput(), c.mul(g, c.create<SigmoidOp>(softplus.getInput())));
        return success();
      })
      .Case<LeakyReluOp>([&](LeakyReluOp relu) {
        Value x = relu.getInput(), negative = compare(c, Predicate::LT, x, c.scalar(0.0, element));
        c.accumulate(x, c.create<WhereOp>(negative, c.mul(g, relu.getAlpha().convertToDouble()), g));
        return success();
      })
      .Case<EluOp>([&](EluOp elu) { // alpha e^x = y + alpha below 0
        Value x = elu.getInput(), negative = compare(c, Predicate::LT, x, c.scalar(0.0, element));
        c.accumulate(x, c.create<WhereOp>(negative, c.mul(g, c.add(y, elu.getAlpha().convertToDouble())), g));
        return success();
      })
      .Case<ClipOp>([&](ClipOp clip) {
        clipVJP(clip, g, c);
        return success();
      })
      .Case<AcosOp, AsinOp, AtanOp, AcoshOp, AsinhOp, AtanhOp>([&](auto inverse) {
        Value x = inverse.getInput();
        c.accumulate(x, c.mul(g, inverseTrigSlope(inverse, x, c)));
        return success();
      })
      .Case<ReluOp>([&](ReluOp relu) {
        Value positive = compare(c, Predicate::GT, relu.getInput(), c.scalar(0.0, element));
        c.accumulate(relu.getInput(), select(c, positive, g));
        return success();
      })
      .Default([](Operation *) { return failure(); });
}
