// Attention as a recurrence: the state lives in the last rows of the result.
#include "Sequential.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::loops;

void SequentialEmitter::emitLinearAttention(lm::LinearAttentionOp op, S tile) {
  Buffer out = resultBuffer(op);
  SmallVector<SymExpr> dims = lm::getDims(op.getType());
  SmallVector<Index> at = indicesOf(tile, ArrayRef(dims).take_front(2));
  Index batch = at[0], head = at[1];
  const SymExpr heads(static_cast<int64_t>(op.getNumHeads())), keyWidth = lm::getDims(op.getKey())[2];
  SymExpr dk = *SymExpr::divideExactly(keyWidth, heads), dv = dims[3], length = lm::getDims(op.getQuery())[1];
  int64_t group = *SymExpr::divideExactly(lm::getDims(op.getQuery())[2], keyWidth)->getConstant();
  SymExpr outputs = length * SymExpr(group);
  Elem elem = out.elem;
  auto place = [&](const Index &row, const Index &m) { return linearize({batch, head, row, m}, dims); };
  auto state = [&](const Index &d, const Index &m) { return place(Index(outputs) + d, m); };
  auto binary = [&](Opcode code, S x, S y) { return b.op(code, {x, y}); };
  // Columns go by lanes, everything else one after the other.
  auto forColumns = [&](llvm::function_ref<void(const Index &)> body) {
    forAll({dv}, true, [&](ArrayRef<Index> m) { body(m[0]); });
  };
  auto forState = [&](llvm::function_ref<S(const Index &)> factor, llvm::function_ref<S(S, S, const Index &)> update) {
    forEach(dk, [&](const Index &d) {
      S x = factor(d);
      forColumns([&](const Index &m) {
        Index where = state(d, m);
        store(out, where, update(loadWritten(out, where), x, m));
      });
    });
  };
  Buffer values = b.scratch(elem, dv), retrieved = b.scratch(elem, dv);
  S zero = b.constant(elem, 0.0);

  forEach(dk, [&](const Index &d) {
    forColumns([&](const Index &m) {
      store(out, state(d, m), op.getPast() ? e.emit(op.getPast(), {batch, head, d, m}) : zero);
    });
  });
  forEach(length, [&](const Index &t) {
    auto key = [&](const Index &d) { return e.emit(op.getKey(), {batch, t, head * dk + d}); };
    if (Value decay = op.getDecay()) {
      bool perHead = lm::getDims(decay)[2] == heads;
      forState(
          [&](const Index &d) {
            return b.op(Opcode::Exp, {e.emit(decay, {batch, t, perHead ? head : head * dk + d})});
          },
          [&](S old, S factor, const Index &) { return binary(Opcode::Mul, old, factor); });
    }
    forColumns([&](const Index &m) { store(values, m, e.emit(op.getValue(), {batch, t, head * dv + m})); });
    if (Value beta = op.getBeta()) {
      S rate = e.emit(beta, {batch, t, lm::getDims(beta)[2] == heads ? head : Index(0)});
      forColumns([&](const Index &m) { store(retrieved, m, zero); });
      forEach(dk, [&](const Index &d) {
        S k = key(d);
        forColumns([&](const Index &m) {
          S product = binary(Opcode::Mul, k, loadWritten(out, state(d, m)));
          store(retrieved, m, binary(Opcode::Add, loadWritten(retrieved, m), product));
        });
      });
      forColumns([&](const Index &m) {
        S missing = binary(Opcode::Sub, loadWritten(values, m), loadWritten(retrieved, m));
        store(values, m, binary(Opcode::Mul, rate, missing));
      });
    }
    forState(key, [&](S old, S k, const Index &m) {
      return binary(Opcode::Add, old, binary(Opcode::Mul, k, loadWritten(values, m)));
    });
    S scale = b.constant(elem, op.getScale().convertToDouble());
    forEach(group, [&](const Index &g) {
      Index row = t * SymExpr(group) + g;
      forColumns([&](const Index &m) { store(out, place(row, m), zero); });
      forEach(dk, [&](const Index &d) {
        Index column = (head * SymExpr(group) + g) * dk + d;
        S q = binary(Opcode::Mul, scale, e.emit(op.getQuery(), {batch, t, column}));
        forColumns([&](const Index &m) {
          S product = binary(Opcode::Mul, q, loadWritten(out, state(d, m)));
          store(out, place(row, m), binary(Opcode::Add, loadWritten(out, place(row, m)), product));
        });
      });
    });
  });
}
