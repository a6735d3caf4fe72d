// Bits of integers, random bits, and inverse trigonometric functions.
#include "Emitter.h"

#include "llmopt/Support/Philox.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

#include <array>
#include <cmath>
#include <limits>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::loops;

/// Counts outside of [0, width) shift everything out.
S Emitter::shift(S x, S count, bool left) {
  int64_t width = bitWidth(x.elem);
  S zero = b.constant(x.elem, int64_t(0));
  S fits = b.op(Opcode::Lt, {count, b.constant(count.elem, width)});
  if (!isUnsigned(count.elem))
    fits = b.op(Opcode::And, {fits, b.op(Opcode::Ge, {count, b.constant(count.elem, int64_t(0))})});
  S safe = b.op(Opcode::Select, {fits, count, b.constant(count.elem, int64_t(0))});
  S shifted = b.op(left ? Opcode::ShiftLeft : Opcode::ShiftRight, {x, safe});
  S rest = zero;
  if (!left && !isUnsigned(x.elem))
    rest = b.op(Opcode::Select, {b.op(Opcode::Lt, {x, zero}), b.constant(x.elem, int64_t(-1)), zero});
  return b.op(Opcode::Select, {fits, shifted, rest});
}

/// SplitMix64 of a position.
S Emitter::emitRandomBits(lm::RandomBitsOp op, ArrayRef<Index> indices) {
  auto word = [&](uint64_t value) { return b.constant(Elem::U64, static_cast<int64_t>(value)); };
  auto mix = [&](S z, int64_t bits) { return b.op(Opcode::Xor, {z, b.op(Opcode::ShiftRight, {z, word(bits)})}); };
  S position = b.op(Opcode::Cast, {valueOf(linearize(indices, lm::getDims(op.getType())))}, Elem::U64);
  S next = b.op(Opcode::Add, {position, word(1)});
  S z = b.op(Opcode::Add, {b.op(Opcode::Mul, {next, word(0x9E3779B97F4A7C15u)}), word(op.getSeed())});
  z = b.op(Opcode::Mul, {mix(z, 30), word(0xBF58476D1CE4E5B9u)});
  z = b.op(Opcode::Mul, {mix(z, 27), word(0x94D049BB133111EBu)});
  return mix(z, 31);
}

/// A word of Philox4x32-10 decides for its element; 32-bit words are kept in 64 bits,
/// where their products fit.
S Emitter::emitDropout(lm::DropoutOp op, ArrayRef<Index> indices) {
  auto word = [&](uint64_t value) { return b.constant(Elem::U64, static_cast<int64_t>(value)); };
  auto both = [&](S x, S y) { return b.op(Opcode::Xor, {x, y}); };
  auto low = [&](S x) { return b.op(Opcode::Cast, {b.op(Opcode::Cast, {x}, Elem::U32)}, Elem::U64); };
  auto high = [&](S x) { return b.op(Opcode::ShiftRight, {x, word(32)}); };
  S seed = b.op(Opcode::Cast, {emit(op.getSeed(), {})}, Elem::U64);
  S step = low(b.op(Opcode::Cast, {emit(op.getStep(), {})}, Elem::U64));
  S position = b.op(Opcode::Cast, {valueOf(linearize(indices, lm::getDims(op.getType())))}, Elem::U64);
  S block = b.op(Opcode::ShiftRight, {position, word(2)}), lane = b.op(Opcode::And, {position, word(3)});
  std::array<S, 4> c{low(block), high(block), word(op.getId()), step};
  std::array<S, 2> key{low(seed), high(seed)};
  for (int round = 0; round < kPhiloxRounds; ++round) {
    S x = b.op(Opcode::Mul, {c[0], word(kPhiloxMultiplier[0])}),
      y = b.op(Opcode::Mul, {c[2], word(kPhiloxMultiplier[1])});
    c = {both(both(high(y), c[1]), key[0]), low(y), both(both(high(x), c[3]), key[1]), low(x)};
    for (int i : {0, 1})
      key[i] = low(b.op(Opcode::Add, {key[i], word(kPhiloxWeyl[i])}));
  }
  S bits = c[3];
  for (int i : {2, 1, 0})
    bits = b.op(Opcode::Select, {b.op(Opcode::Eq, {lane, word(i)}), c[i], bits});
  S probability = emit(op.getProbability(), {}), x = emit(op.getInput(), indices);
  S upper = b.op(Opcode::Cast, {b.op(Opcode::ShiftRight, {bits, word(8)})}, Elem::I32);
  upper = b.op(Opcode::Cast, {upper}, probability.elem); // exact
  S drops = b.op(Opcode::Lt, {b.op(Opcode::Mul, {upper, real(probability.elem, 0x1p-24)}), probability});
  S keeps = b.op(Opcode::Sub, {real(x.elem, 1), cast(probability, x.elem)});
  return b.op(Opcode::Select, {drops, real(x.elem, 0), b.op(Opcode::Div, {x, keeps})});
}

/// log(1 + x): the rounding of 1 + x is made good by x / ((1 + x) - 1).
S Emitter::logOnePlus(S x) {
  S one = real(x.elem, 1), sum = b.op(Opcode::Add, {one, x}), rounded = b.op(Opcode::Sub, {sum, one});
  S same = b.op(Opcode::Eq, {rounded, real(x.elem, 0)}), log = b.op(Opcode::Log, {sum});
  S infinite = b.op(Opcode::Eq, {b.op(Opcode::Abs, {sum}), real(x.elem, std::numeric_limits<double>::infinity())});
  S ratio = b.op(Opcode::Div, {x, b.op(Opcode::Select, {b.op(Opcode::Or, {same, infinite}), one, rounded})});
  S result = b.op(Opcode::Mul, {log, b.op(Opcode::Select, {infinite, one, ratio})});
  return b.op(Opcode::Select, {same, x, result});
}

/// Forms that keep what is small: no 1 - x^2 near 1, no square that overflows.
std::optional<S> Emitter::emitInverseTrig(Operation *op, S x) {
  Elem e = x.elem;
  S zero = real(e, 0), one = real(e, 1), two = real(e, 2);
  auto minus = [&](S p, S q) { return b.op(Opcode::Sub, {p, q}); };
  auto plus = [&](S p, S q) { return b.op(Opcode::Add, {p, q}); };
  auto times = [&](S p, S q) { return b.op(Opcode::Mul, {p, q}); };
  auto withSignOf = [&](S size) {
    return b.op(Opcode::Select, {b.op(Opcode::Lt, {x, zero}), b.op(Opcode::Neg, {size}), size});
  };
  auto beyond = [&](S size, S value) { // log(2 size) where squares would overflow
    S large = b.op(Opcode::Gt, {size, real(e, 0x1p40)});
    return b.op(Opcode::Select, {large, plus(b.op(Opcode::Log, {size}), real(e, M_LN2)), value});
  };
  return llvm::TypeSwitch<Operation *, std::optional<S>>(op)
      .Case<lm::AtanOp>([&](auto) { return b.op(Opcode::Atan, {x}); })
      .Case<lm::AsinOp>([&](auto) {
        S root = b.op(Opcode::Sqrt, {times(minus(one, x), plus(one, x))});
        return times(two, b.op(Opcode::Atan, {b.op(Opcode::Div, {x, plus(one, root)})}));
      })
      .Case<lm::AcosOp>([&](auto) {
        S ratio = b.op(Opcode::Div, {minus(one, x), plus(one, x)});
        return times(two, b.op(Opcode::Atan, {b.op(Opcode::Sqrt, {ratio})}));
      })
      .Case<lm::AsinhOp>([&](auto) {
        S a = b.op(Opcode::Abs, {x}), root = b.op(Opcode::Sqrt, {plus(times(a, a), one)});
        S near = logOnePlus(plus(a, b.op(Opcode::Div, {times(a, a), plus(one, root)})));
        return withSignOf(beyond(a, near));
      })
      .Case<lm::AcoshOp>([&](auto) {
        S t = minus(x, one), root = b.op(Opcode::Sqrt, {times(t, plus(t, two))});
        S value = beyond(x, logOnePlus(plus(t, root)));
        S undefined = b.op(Opcode::Lt, {x, one});
        return b.op(Opcode::Select, {undefined, real(e, std::numeric_limits<double>::quiet_NaN()), value});
      })
      .Case<lm::AtanhOp>([&](auto) {
        S a = b.op(Opcode::Abs, {x}), ratio = b.op(Opcode::Div, {times(two, a), minus(one, a)});
        return withSignOf(times(real(e, 0.5), logOnePlus(ratio)));
      })
      .Default([](Operation *) { return std::nullopt; });
}

std::optional<S> Emitter::emitBits(Operation *op, ArrayRef<Index> indices) {
  if (auto random = dyn_cast<lm::RandomBitsOp>(op))
    return emitRandomBits(random, indices);
  if (auto dropout = dyn_cast<lm::DropoutOp>(op))
    return emitDropout(dropout, indices);
  if (!isa<lm::AcosOp, lm::AsinOp, lm::AtanOp, lm::AcoshOp, lm::AsinhOp, lm::AtanhOp, lm::BitwiseAndOp, lm::BitwiseOrOp,
           lm::BitwiseXorOp, lm::BitwiseNotOp, lm::ShiftLeftOp, lm::ShiftRightOp>(op))
    return std::nullopt;
  SmallVector<SymExpr> dims = lm::getDims(op->getResult(0));
  S x = emitBroadcast(op->getOperand(0), indices, dims);
  if (std::optional<S> s = emitInverseTrig(op, x))
    return s;
  if (isa<lm::BitwiseNotOp>(op))
    return b.op(Opcode::Xor, {x, b.constant(x.elem, x.elem == Elem::Bool ? int64_t(1) : int64_t(-1))});
  S y = emitBroadcast(op->getOperand(1), indices, dims);
  if (isa<lm::ShiftLeftOp, lm::ShiftRightOp>(op))
    return shift(x, y, isa<lm::ShiftLeftOp>(op));
  return b.op(isa<lm::BitwiseAndOp>(op) ? Opcode::And : isa<lm::BitwiseOrOp>(op) ? Opcode::Or : Opcode::Xor, {x, y});
}
