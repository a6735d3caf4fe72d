// Elementwise operations.
#include "Emitter.h"

#include "mlir/IR/Matchers.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::loops;

S Emitter::emitGelu(lm::GeluKind kind, S x) {
  Elem e = x.elem;
  switch (kind) {
  case lm::GeluKind::Erf: {
    S erf = b.op(Opcode::Erf, {b.op(Opcode::Mul, {x, real(e, M_SQRT1_2)})});
    return b.op(Opcode::Mul, {b.op(Opcode::Mul, {x, real(e, 0.5)}), b.op(Opcode::Add, {erf, real(e, 1)})});
  }
  case lm::GeluKind::Tanh: {
    // (1 + tanh u) / 2 = sigmoid(2 u)
    S square = b.op(Opcode::Mul, {x, x});
    S inner = b.op(Opcode::Add, {b.op(Opcode::Mul, {square, real(e, 2 * std::sqrt(M_2_PI) * 0.044715)}),
                             real(e, 2 * std::sqrt(M_2_PI))});
    return b.op(Opcode::Mul, {x, b.op(Opcode::Sigmoid, {b.op(Opcode::Mul, {x, inner})})});
  }
  case lm::GeluKind::Quick:
    return b.op(Opcode::Mul, {x, b.op(Opcode::Sigmoid, {b.op(Opcode::Mul, {x, real(e, 1.702)})})});
  }
  llvm_unreachable("kind of GELU");
}

S Emitter::emitUnary(Operation *op, S x) {
  Elem e = x.elem;
  S zero = b.constant(e, int64_t(0)), one = b.constant(e, int64_t(1));
  auto negative = [&] { return b.op(Opcode::Lt, {x, zero}); };
  return llvm::TypeSwitch<Operation *, S>(op)
      .Case<lm::NegOp>([&](auto) { return b.op(Opcode::Neg, {x}); })
      .Case<lm::AbsOp>([&](auto) {
        if (isFloat(e))
          return b.op(Opcode::Abs, {x});
        return isUnsigned(e) ? x : b.op(Opcode::Select, {negative(), b.op(Opcode::Neg, {x}), x});
      })
      .Case<lm::ExpOp>([&](auto) { return b.op(Opcode::Exp, {x}); })
      .Case<lm::LogOp>([&](auto) { return b.op(Opcode::Log, {x}); })
      .Case<lm::SqrtOp>([&](auto) { return b.op(Opcode::Sqrt, {x}); })
      .Case<lm::ReciprocalOp>([&](auto) { return b.op(Opcode::Div, {one, x}); })
      .Case<lm::SinOp>([&](auto) { return b.op(Opcode::Sin, {x}); })
      .Case<lm::CosOp>([&](auto) { return b.op(Opcode::Cos, {x}); })
      .Case<lm::ErfOp>([&](auto) { return b.op(Opcode::Erf, {x}); })
      .Case<lm::TanhOp>([&](auto) { return b.op(Opcode::Tanh, {x}); })
      .Case<lm::SigmoidOp>([&](auto) { return b.op(Opcode::Sigmoid, {x}); })
      .Case<lm::SoftplusOp>([&](auto) {
        // max(x, 0) + log1p(e), e = exp(-|x|) <= 1. The rounding of 1 + e is made
        // good by e / ((1 + e) - 1); below that only e itself is left.
        S small = b.op(Opcode::Exp, {b.op(Opcode::Neg, {b.op(Opcode::Abs, {x})})});
        S sum = b.op(Opcode::Add, {one, small}), rounded = b.op(Opcode::Sub, {sum, one});
        S same = b.op(Opcode::Eq, {rounded, zero});
        S ratio = b.op(Opcode::Div, {small, b.op(Opcode::Select, {same, one, rounded})});
        S log = b.op(Opcode::Select, {same, small, b.op(Opcode::Mul, {b.op(Opcode::Log, {sum}), ratio})});
        return b.op(Opcode::Add, {b.op(Opcode::Max, {x, zero}), log});
      })
      .Case<lm::ReluOp>([&](auto) { return isUnsigned(e) ? x : b.op(Opcode::Select, {negative(), zero, x}); })
      .Case<lm::SignOp>([&](auto) {
        S positive = b.op(Opcode::Gt, {x, zero});
        if (isUnsigned(e))
          return b.op(Opcode::Select, {positive, one, x});
        S minus = isFloat(e) ? real(e, -1) : b.constant(e, int64_t(-1));
        return b.op(Opcode::Select, {positive, one, b.op(Opcode::Select, {negative(), minus, x})});
      })
      .Case<lm::FloorOp>([&](auto) { return b.op(Opcode::Floor, {x}); })
      .Case<lm::CeilOp>([&](auto) { return b.op(Opcode::Ceil, {x}); })
      .Case<lm::RoundOp>([&](auto) { return b.op(Opcode::Round, {x}); })
      .Case<lm::NotOp>([&](auto) { return b.op(Opcode::Not, {x}); })
      .Case<lm::LeakyReluOp>([&](lm::LeakyReluOp leaky) {
        S scaled = b.op(Opcode::Mul, {x, real(e, leaky.getAlpha().convertToDouble())});
        return b.op(Opcode::Select, {negative(), scaled, x});
      })
      .Case<lm::EluOp>([&](lm::EluOp elu) {
        // exp(x) - 1 loses what is small: near zero, tanh(x/2) (exp(x) + 1) is exact.
        S half = b.op(Opcode::Tanh, {b.op(Opcode::Mul, {x, real(e, 0.5)})}), exp = b.op(Opcode::Exp, {x});
        S near = b.op(Opcode::Mul, {half, b.op(Opcode::Add, {exp, one})});
        S minusOne = b.op(Opcode::Select, {b.op(Opcode::Gt, {x, real(e, -1)}), near, b.op(Opcode::Sub, {exp, one})});
        S scaled = b.op(Opcode::Mul, {minusOne, real(e, elu.getAlpha().convertToDouble())});
        return b.op(Opcode::Select, {negative(), scaled, x});
      })
      .Case<lm::IsNaNOp>([&](auto) { return b.op(Opcode::Ne, {x, x}); })
      .Case<lm::IsInfOp>([&](lm::IsInfOp isInf) {
        double inf = std::numeric_limits<double>::infinity();
        S result = b.constant(Elem::Bool, int64_t(0));
        if (isInf.getDetectNegative())
          result = b.op(Opcode::Eq, {x, real(e, -inf)});
        if (isInf.getDetectPositive()) {
          S positive = b.op(Opcode::Eq, {x, real(e, inf)});
          result = isInf.getDetectNegative() ? b.op(Opcode::Or, {result, positive}) : positive;
        }
        return result;
      })
      .Case<lm::CastOp>([&](lm::CastOp castOp) {
        return castTo(x, getElementTypeOrSelf(castOp.getType()), castOp.getSaturate(), castOp.getRounding());
      })
      .Case<lm::GeluOp>([&](lm::GeluOp gelu) { return emitGelu(gelu.getKind(), x); })
      .Default([](Operation *) { return S(); });
}

static Opcode comparisonOf(lm::Predicate predicate) {
  switch (predicate) {
  case lm::Predicate::EQ:
    return Opcode::Eq;
  case lm::Predicate::LT:
    return Opcode::Lt;
  case lm::Predicate::LE:
    return Opcode::Le;
  case lm::Predicate::GT:
    return Opcode::Gt;
  case lm::Predicate::GE:
    return Opcode::Ge;
  }
  llvm_unreachable("predicate");
}

std::optional<S> Emitter::emitElementwise(Operation *op, ArrayRef<Index> indices) {
  if (op->getNumResults() != 1)
    return std::nullopt;
  SmallVector<SymExpr> dims = lm::getDims(op->getResult(0));
  auto operand = [&](unsigned i) { return emitBroadcast(op->getOperand(i), indices, dims); };
  auto binary = [&](Opcode code) {
    S x = operand(0), y = operand(1);
    return b.op(code, {x, y});
  };
  if (isa<lm::NegOp, lm::AbsOp, lm::ExpOp, lm::LogOp, lm::SqrtOp, lm::ReciprocalOp, lm::SinOp, lm::CosOp, lm::ErfOp,
          lm::TanhOp, lm::SigmoidOp, lm::SoftplusOp, lm::ReluOp, lm::SignOp, lm::FloorOp, lm::CeilOp, lm::RoundOp,
          lm::NotOp, lm::LeakyReluOp, lm::EluOp, lm::IsNaNOp, lm::IsInfOp, lm::CastOp, lm::GeluOp>(op))
    return emitUnary(op, operand(0));
  return llvm::TypeSwitch<Operation *, std::optional<S>>(op)
      .Case<lm::AddOp>([&](auto) { return binary(Opcode::Add); })
      .Case<lm::SubOp>([&](auto) { return binary(Opcode::Sub); })
      .Case<lm::MulOp>([&](auto) { return binary(Opcode::Mul); })
      .Case<lm::MinOp>([&](auto) { return binary(Opcode::Min); })
      .Case<lm::MaxOp>([&](auto) { return binary(Opcode::Max); })
      .Case<lm::AndOp>([&](auto) { return binary(Opcode::And); })
      .Case<lm::OrOp>([&](auto) { return binary(Opcode::Or); })
      .Case<lm::XorOp>([&](auto) { return binary(Opcode::Xor); })
      .Case<lm::DivOp>([&](auto) {
        S x = operand(0), y = operand(1);
        return divide(x, y);
      })
      .Case<lm::ModOp>([&](lm::ModOp mod) {
        S x = operand(0), y = operand(1);
        return modulo(x, y, mod.getFmod());
      })
      .Case<lm::PowOp>([&](lm::PowOp pow) -> S {
        S x = operand(0);
        // The common exponents, exactly as pow gives them or better.
        llvm::APFloat exponent(0.0);
        if (isFloat(x.elem) && matchPattern(pow.getRhs(), m_ConstantFloat(&exponent))) {
          if (exponent.isExactlyValue(2.0))
            return b.op(Opcode::Mul, {x, x});
          if (exponent.isExactlyValue(1.0))
            return x;
          if (exponent.isExactlyValue(3.0))
            return b.op(Opcode::Mul, {b.op(Opcode::Mul, {x, x}), x});
          if (exponent.isExactlyValue(-1.0))
            return b.op(Opcode::Div, {real(x.elem, 1), x});
        }
        return power(x, operand(1));
      })
      .Case<lm::CompareOp>([&](lm::CompareOp compare) { return binary(comparisonOf(compare.getPredicate())); })
      .Case<lm::WhereOp>([&](auto) {
        S condition = operand(0), x = operand(1), y = operand(2);
        return b.op(Opcode::Select, {condition, x, y});
      })
      .Case<lm::ClipOp>([&](lm::ClipOp clip) {
        S x = operand(0);
        auto limit = [&](Value value, Opcode worse) {
          SmallVector<Index> zeros(::mlir::cast<RankedTensorType>(value.getType()).getRank());
          S bound = emit(value, zeros);
          x = b.op(Opcode::Select, {b.op(worse, {x, bound}), bound, x});
        };
        if (clip.getMin())
          limit(clip.getMin(), Opcode::Lt);
        if (clip.getMax())
          limit(clip.getMax(), Opcode::Gt);
        return x;
      })
      .Default([](Operation *) { return std::nullopt; });
}
