// Explicit quantization.
#include "Emitter.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::loops;

S Emitter::saturate(S q, Type type, bool narrow) {
  unsigned bits = type.getIntOrFloatBitWidth();
  bool isUnsigned = type.isUnsignedInteger();
  S lowest = real(q.elem, isUnsigned ? 0 : -std::ldexp(1.0, bits - 1) + (narrow ? 1 : 0));
  S highest = real(q.elem, std::ldexp(1.0, isUnsigned ? bits : bits - 1) - 1);
  q = b.op(Opcode::Select, {b.op(Opcode::Gt, {q, lowest}), q, lowest}); // NaN: the lowest
  return b.op(Opcode::Select, {b.op(Opcode::Lt, {q, highest}), q, highest});
}

std::optional<S> Emitter::emitQuantization(Operation *op, ArrayRef<Index> indices) {
  return llvm::TypeSwitch<Operation *, std::optional<S>>(op)
      .Case<lm::AbsMaxScaleOp>([&](lm::AbsMaxScaleOp scale) {
        SmallVector<SymExpr> dims = lm::getDims(scale.getInput()), extents;
        Elem elem = computeElem(elemOfTensor(scale.getInput()));
        SmallVector<Index> at(indices), kept;
        SmallVector<size_t> axes;
        for (size_t i = 0; i < dims.size(); ++i) {
          if (!llvm::is_contained(scale.getAxes(), static_cast<int64_t>(i))) {
            kept.push_back(at[i]);
            continue;
          }
          axes.push_back(i);
          extents.push_back(dims[i]);
        }
        S zero = real(elem, 0), largest;
        b.atLevel(placeForReduction(kept), [&] {
          largest = reduce(extents, {zero},
                           [&](ArrayRef<Index> inner, ArrayRef<S> best) {
                             for (auto [axis, index] : llvm::zip(axes, inner))
                               at[axis] = index;
                             S size = b.op(Opcode::Abs, {emit(scale.getInput(), at)});
                             return SmallVector<S>{b.op(Opcode::Max, {best[0], size})};
                           },
                           [&](ArrayRef<S> x, ArrayRef<S> y) {
                             return SmallVector<S>{b.op(Opcode::Max, {x[0], y[0]})};
                           })[0];
        });
        S divided = b.op(Opcode::Div, {largest, real(elem, scale.getQmax().convertToDouble())});
        return b.op(Opcode::Select, {b.op(Opcode::Eq, {largest, zero}), real(elem, 1), divided});
      })
      .Case<lm::QuantizeOp>([&](lm::QuantizeOp quantize) {
        SmallVector<SymExpr> dims = lm::getDims(quantize.getInput());
        Type type = getElementTypeOrSelf(quantize.getType());
        Elem to = *elemOf(type);
        S x = emit(quantize.getInput(), indices), scale = emitBroadcast(quantize.getScale(), indices, dims);
        if (isFloat(to)) {
          S quotient = b.op(Opcode::Div, {x, cast(scale, x.elem)});
          if (quantize.getZeroPoint())
            quotient = b.op(Opcode::Add,
                            {quotient, cast(emitBroadcast(quantize.getZeroPoint(), indices, dims), quotient.elem)});
          return castTo(quotient, type, quantize.getSaturate());
        }
        S q = b.op(Opcode::Round, {b.op(Opcode::Div, {x, cast(scale, x.elem)})});
        if (bitWidth(to) >= 32) // f32 has no room for the limits
          q = cast(q, Elem::F64);
        if (quantize.getZeroPoint())
          q = b.op(Opcode::Add, {q, cast(emitBroadcast(quantize.getZeroPoint(), indices, dims), q.elem)});
        q = saturate(q, type, quantize.getNarrowRange());
        if (type.getIntOrFloatBitWidth() >= 32)
          return cast(q, to);
        return b.op(Opcode::Cast, {b.op(Opcode::Truncate, {q}, Elem::I32)}, to);
      })
      .Case<lm::FakeQuantizeOp>([&](lm::FakeQuantizeOp fake) {
        SmallVector<SymExpr> dims = lm::getDims(fake.getInput());
        S x = emit(fake.getInput(), indices), scale = cast(emitBroadcast(fake.getScale(), indices, dims), x.elem);
        // Integers of at most 16 bits, and their differences, are exact in f32.
        S q = b.op(Opcode::Round, {b.op(Opcode::Div, {x, scale})}), zero;
        if (fake.getZeroPoint()) {
          zero = cast(emitBroadcast(fake.getZeroPoint(), indices, dims), q.elem);
          q = b.op(Opcode::Add, {q, zero});
        }
        q = saturate(q, fake.getStorage(), fake.getNarrowRange());
        if (fake.getZeroPoint())
          q = b.op(Opcode::Sub, {q, zero});
        return b.op(Opcode::Mul, {q, scale});
      })
      .Case<lm::DequantizeOp>([&](lm::DequantizeOp dequantize) {
        SmallVector<SymExpr> dims = lm::getDims(dequantize.getInput());
        S q = emit(dequantize.getInput(), indices), scale = emitBroadcast(dequantize.getScale(), indices, dims);
        if (isFloat(q.elem)) {
          if (dequantize.getZeroPoint())
            q = b.op(Opcode::Sub, {q, emitBroadcast(dequantize.getZeroPoint(), indices, dims)});
          return b.op(Opcode::Mul, {cast(q, scale.elem), scale});
        }
        Elem wide = bitWidth(q.elem) < 32 ? Elem::I32 : Elem::I64;
        if (q.elem != Elem::U64)
          q = cast(q, wide);
        if (dequantize.getZeroPoint()) {
          S zero = cast(emitBroadcast(dequantize.getZeroPoint(), indices, dims), q.elem);
          q = b.op(Opcode::Sub, {q, zero});
        }
        return b.op(Opcode::Mul, {cast(q, scale.elem), scale});
      })
      .Default([](Operation *) { return std::nullopt; });
}
