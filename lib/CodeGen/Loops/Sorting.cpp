// Merge sort of indices, and suppression of overlapping boxes.
#include "Sequential.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::loops;

S SequentialEmitter::isBefore(S x, S y, bool descending) {
  S wins = b.op(descending ? Opcode::Gt : Opcode::Lt, {x, y});
  if (!isFloat(x.elem))
    return wins;
  S first = b.op(Opcode::Ne, {x, x}), second = b.op(Opcode::Ne, {y, y});
  return descending ? b.op(Opcode::Select, {first, b.op(Opcode::Not, {second}), wins})
                    : b.op(Opcode::Select, {second, b.op(Opcode::Not, {first}), wins});
}

/// Bottom up: runs of 1, 2, 4 .. are merged from one half of the memory into the other.
SequentialEmitter::Order SequentialEmitter::sort(const SymExpr &extent, llvm::function_ref<S(S, S)> isBefore) {
  Buffer buffer = b.scratch(Elem::I64, extent * SymExpr(2));
  S zero = b.index(0), one = b.index(1), two = b.index(2), size = b.size(extent);
  auto add = [&](S x, S y) { return b.op(Opcode::IAdd, {x, y}); };
  auto limit = [&](S x) { return b.op(Opcode::Min, {x, size}); };
  auto select = [&](S condition, S x, S y) { return b.op(Opcode::Select, {condition, x, y}); };
  b.loop(LoopKind::Serial, zero, size, {}, [&](S i, ArrayRef<S>) {
    store(buffer, i, i);
    return SmallVector<S>();
  });
  // As many passes as it takes to double one up to the size.
  S passes = b.loop(LoopKind::Serial, zero, b.index(62), {zero, one}, [&](S, ArrayRef<S> carried) {
    S more = b.op(Opcode::Lt, {carried[1], size});
    return SmallVector<S>{select(more, add(carried[0], one), carried[0]), b.op(Opcode::IMul, {carried[1], two})};
  })[0];
  S last = add(size, b.index(-1));
  b.loop(LoopKind::Serial, zero, passes, {one}, [&](S pass, ArrayRef<S> carried) {
    S width = carried[0], both = b.op(Opcode::IMul, {width, two});
    S from = b.op(Opcode::IMul, {b.op(Opcode::IRem, {pass, two}), size});
    S to = add(size, b.op(Opcode::IMul, {from, b.index(-1)}));
    b.loop(LoopKind::Serial, zero, size, {zero, limit(width), zero}, [&](S k, ArrayRef<S> heads) {
      S begins = b.op(Opcode::Eq, {k, add(heads[2], both)});
      S start = select(begins, k, heads[2]), left = select(begins, k, heads[0]);
      S right = select(begins, limit(add(k, width)), heads[1]);
      S i = loadWritten(buffer, add(from, b.op(Opcode::Min, {left, last})));
      S j = loadWritten(buffer, add(from, b.op(Opcode::Min, {right, last})));
      S hasRight = b.op(Opcode::Lt, {right, limit(add(start, both))});
      S noLeft = b.op(Opcode::Ge, {left, limit(add(start, width))});
      S takesRight = b.op(Opcode::And, {hasRight, b.op(Opcode::Or, {noLeft, isBefore(j, i)})});
      store(buffer, add(to, k), select(takesRight, j, i));
      return SmallVector<S>{select(takesRight, left, add(left, one)), select(takesRight, add(right, one), right),
                            start};
    });
    return SmallVector<S>{both};
  });
  return {buffer, b.op(Opcode::IMul, {b.op(Opcode::IRem, {passes, two}), size})};
}

namespace {
/// Corners in f64, lower ones first.
struct Box {
  S low[2], high[2];
};
} // namespace

void SequentialEmitter::emitSuppression(lm::NonMaxSuppressionOp op, S tile) {
  Buffer out = resultBuffer(op);
  SmallVector<SymExpr> dims = lm::getDims(op.getType());
  SymExpr boxes = lm::getDims(op.getBoxes())[1];
  SmallVector<Index> at = indicesOf(tile, ArrayRef(dims).take_front(2));
  auto scalar = [&](Value value) {
    return e.emit(value, SmallVector<Index>(cast<RankedTensorType>(value.getType()).getRank()));
  };
  auto wide = [&](S x) { return x.elem == Elem::F64 ? x : b.op(Opcode::Cast, {x}, Elem::F64); };
  auto binary = [&](Opcode code, S x, S y) { return b.op(code, {x, y}); };
  auto scoreOf = [&](S i) { return e.emit(op.getScores(), {at[0], at[1], indexOf(i, boxes)}); };
  auto boxOf = [&](S i) {
    Index number = indexOf(i, boxes);
    auto part = [&](int64_t p) { return wide(e.emit(op.getBoxes(), {at[0], number, Index(p)})); };
    Box box;
    for (int d = 0; d < 2; ++d) {
      S first = part(d), second = part(2 + d);
      if (op.getCenterPointBox())
        second = binary(Opcode::Mul, second, b.constant(Elem::F64, 0.5));
      box.low[d] = op.getCenterPointBox() ? binary(Opcode::Sub, first, second) : binary(Opcode::Min, first, second);
      box.high[d] = op.getCenterPointBox() ? binary(Opcode::Add, first, second) : binary(Opcode::Max, first, second);
    }
    return box;
  };
  auto areaOf = [&](const Box &box) {
    return binary(Opcode::Mul, binary(Opcode::Sub, box.high[0], box.low[0]),
                  binary(Opcode::Sub, box.high[1], box.low[1]));
  };
  S zero = b.index(0), none = b.constant(Elem::F64, 0.0), threshold = wide(scalar(op.getIouThreshold()));
  auto overlaps = [&](const Box &x, const Box &y) {
    S sides[2];
    for (int d = 0; d < 2; ++d)
      sides[d] = binary(
          Opcode::Max,
          binary(Opcode::Sub, binary(Opcode::Min, x.high[d], y.high[d]), binary(Opcode::Max, x.low[d], y.low[d])),
          none);
    S common = binary(Opcode::Mul, sides[0], sides[1]);
    S whole = binary(Opcode::Sub, binary(Opcode::Add, areaOf(x), areaOf(y)), common);
    S over = binary(Opcode::Gt, binary(Opcode::Div, common, whole), threshold);
    S real = binary(Opcode::And, binary(Opcode::Gt, common, none), binary(Opcode::Gt, whole, none));
    return binary(Opcode::And, real, over);
  };

  Order order = sort(boxes, [&](S i, S j) { return isBefore(scoreOf(i), scoreOf(j), /*descending=*/true); });
  S slots = b.size(dims[2]), base = b.op(Opcode::IMul, {tile, slots});
  S limit = b.op(Opcode::Min, {scalar(op.getMaxOutput()), slots});
  S count = b.loop(LoopKind::Serial, zero, b.size(boxes), {zero}, [&](S k, ArrayRef<S> carried) {
    S i = loadWritten(order.buffer, b.op(Opcode::IAdd, {order.base, k}));
    S wanted = binary(Opcode::Lt, carried[0], limit);
    if (op.getScoreThreshold())
      wanted = binary(Opcode::And, wanted, binary(Opcode::Gt, scoreOf(i), scalar(op.getScoreThreshold())));
    Box box = boxOf(i);
    S earlier = b.op(Opcode::Select, {wanted, carried[0], zero});
    S hidden = b.loop(LoopKind::Serial, zero, earlier, {b.constant(Elem::Bool, int64_t(0))}, [&](S c, ArrayRef<S> any) {
      S chosen = loadWritten(out, b.op(Opcode::IAdd, {base, c}));
      return SmallVector<S>{binary(Opcode::Or, any[0], overlaps(boxOf(chosen), box))};
    })[0];
    S taken = binary(Opcode::And, wanted, b.op(Opcode::Not, {hidden}));
    b.branch(taken, {}, false,
             [&] {
               store(out, b.op(Opcode::IAdd, {base, carried[0]}), i);
               return SmallVector<S>();
             },
             {});
    return SmallVector<S>{b.op(Opcode::Select, {taken, b.op(Opcode::IAdd, {carried[0], b.index(1)}), carried[0]})};
  })[0];
  b.loop(LoopKind::Serial, count, slots, {}, [&](S k, ArrayRef<S>) {
    store(out, b.op(Opcode::IAdd, {base, k}), b.index(-1));
    return SmallVector<S>();
  });
}
