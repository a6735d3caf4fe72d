// What procedures share, and the scatters.
#include "Sequential.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::loops;

/// Elements that a tile of rows is to have, about.
static constexpr int64_t kTileElements = 4096;

static SymExpr positive(const SymExpr &value) { return isAtLeast(value, 1) ? value : SymExpr::max(value, SymExpr(1)); }

/// Dimensions of rows that are sorted apart.
static SmallVector<SymExpr> sortedRows(lm::ArgSortOp op) {
  SmallVector<SymExpr> dims = lm::getDims(op.getInput());
  if (op.getLexicographic())
    return {};
  dims.erase(dims.begin() + op.getAxis());
  return dims;
}

static SymExpr rowsPerTile(lm::ArgSortOp op) {
  return positive(SymExpr::floorDiv(kTileElements, positive(lm::getDims(op.getInput())[op.getAxis()])));
}

SymExpr llmopt::loops::getSequentialTiles(Operation *op) {
  if (auto sort = dyn_cast<lm::ArgSortOp>(op))
    return SymExpr::ceilDiv(lm::product(sortedRows(sort)), rowsPerTile(sort));
  if (isa<lm::NonMaxSuppressionOp, lm::LinearAttentionOp>(op)) {
    SmallVector<SymExpr> dims = lm::getDims(op->getResult(0));
    return dims[0] * dims[1];
  }
  return 1;
}

void SequentialEmitter::emit(Operation *op, S tile) {
  b.onFirstThread([&] {
    llvm::TypeSwitch<Operation *>(op)
        .Case<lm::ScatterElementsOp>([&](auto scatter) { emitScatterElements(scatter); })
        .Case<lm::ScatterNDOp>([&](auto scatter) { emitScatterND(scatter); })
        .Case<lm::ArgSortOp>([&](auto sort) { emitArgSort(sort, tile); })
        .Case<lm::TrueIndicesOp>([&](auto indices) { emitTrueIndices(indices); })
        .Case<lm::NonMaxSuppressionOp>([&](auto nms) { emitSuppression(nms, tile); })
        .Case<lm::LinearAttentionOp>([&](auto attention) { emitLinearAttention(attention, tile); })
        .Default([](Operation *) { llvm_unreachable("an operation of lm::Sequential"); });
  });
}

// ---- memory

Buffer SequentialEmitter::resultBuffer(Operation *op) {
  Buffer buffer;
  buffer.index = arg;
  buffer.elem = elemOfTensor(op->getResult(0));
  buffer.written = true;
  return buffer;
}

S SequentialEmitter::loadWritten(Buffer buffer, S offset) {
  buffer.written = true;
  buffer.level = b.currentLevel();
  return b.load(buffer, Access::Uniform, offset);
}

S SequentialEmitter::loadWritten(Buffer buffer, const Index &index) {
  buffer.written = true;
  buffer.level = b.currentLevel();
  return e.loadAt(buffer, index);
}

void SequentialEmitter::store(const Buffer &buffer, S offset, S value) {
  b.store(buffer, Access::Uniform, offset, value);
}

void SequentialEmitter::store(const Buffer &buffer, const Index &index, S value) { e.storeAt(buffer, index, value); }

// ---- loops

Index SequentialEmitter::indexOf(S value, const SymExpr &extent) { return Index::var(e.addVar(value, extent)); }

void SequentialEmitter::forEach(S lo, S hi, const SymExpr &extent, llvm::function_ref<void(const Index &)> body) {
  b.loop(LoopKind::Serial, lo, hi, {}, [&](S variable, ArrayRef<S>) {
    body(indexOf(variable, extent));
    return SmallVector<S>();
  });
}

void SequentialEmitter::forEach(const SymExpr &extent, llvm::function_ref<void(const Index &)> body) {
  forEach(b.index(0), b.size(extent), extent, body);
}

SmallVector<Index> SequentialEmitter::indicesOf(S number, ArrayRef<SymExpr> dims) {
  return e.splitVar(e.addVar(number, lm::product(dims)), dims);
}

void SequentialEmitter::forAll(ArrayRef<SymExpr> dims, bool lanes, llvm::function_ref<void(ArrayRef<Index>)> body) {
  SymExpr total = lm::product(dims);
  e.forElements(b.index(0), b.size(total), total, lanes && !b.hasThreads(),
                [&](int variable) { body(e.splitVar(variable, dims)); });
}

// ---- scatters

S SequentialEmitter::combine(lm::ScatterKind kind, S old, S update) {
  bool logical = old.elem == Elem::Bool;
  switch (kind) {
  case lm::ScatterKind::None:
    return update;
  case lm::ScatterKind::Add:
    return b.op(logical ? Opcode::Or : Opcode::Add, {old, update});
  case lm::ScatterKind::Mul:
    return b.op(logical ? Opcode::And : Opcode::Mul, {old, update});
  case lm::ScatterKind::Max:
    return b.op(logical ? Opcode::Or : Opcode::Max, {old, update});
  case lm::ScatterKind::Min:
    return b.op(logical ? Opcode::And : Opcode::Min, {old, update});
  }
  llvm_unreachable("kind of scatter");
}

void SequentialEmitter::emitScatterElements(lm::ScatterElementsOp op) {
  Buffer out = resultBuffer(op);
  SmallVector<SymExpr> dims = lm::getDims(op.getInput());
  int64_t axis = op.getAxis();
  forAll(dims, true, [&](ArrayRef<Index> at) { store(out, linearize(at, dims), e.emit(op.getInput(), at)); });
  forAll(lm::getDims(op.getIndices()), false, [&](ArrayRef<Index> from) {
    SmallVector<Index> to(from);
    to[axis] = e.gathered(e.emit(op.getIndices(), from), dims[axis], {});
    Index at = linearize(to, dims);
    S update = e.emit(op.getUpdates(), from);
    if (op.getKind() != lm::ScatterKind::None)
      update = combine(op.getKind(), loadWritten(out, at), update);
    store(out, at, update);
  });
}

void SequentialEmitter::emitScatterND(lm::ScatterNDOp op) {
  Buffer out = resultBuffer(op);
  SmallVector<SymExpr> dims = lm::getDims(op.getInput()), idDims = lm::getDims(op.getIndices());
  int64_t tuple = *idDims.back().getConstant();
  forAll(dims, true, [&](ArrayRef<Index> at) { store(out, linearize(at, dims), e.emit(op.getInput(), at)); });
  forAll(ArrayRef(idDims).drop_back(), false, [&](ArrayRef<Index> lead) {
    SmallVector<Index> head;
    for (int64_t t = 0; t < tuple; ++t) {
      SmallVector<Index> at(lead);
      at.push_back(Index(t));
      head.push_back(e.gathered(e.emit(op.getIndices(), at), dims[t], {}));
    }
    // Elements of a slice do not meet: they go by lanes.
    forAll(ArrayRef(dims).drop_front(tuple), true, [&](ArrayRef<Index> rest) {
      SmallVector<Index> to(head), from(lead);
      to.append(rest.begin(), rest.end());
      from.append(rest.begin(), rest.end());
      Index at = linearize(to, dims);
      S update = e.emit(op.getUpdates(), from);
      if (op.getKind() != lm::ScatterKind::None)
        update = combine(op.getKind(), loadWritten(out, at), update);
      store(out, at, update);
    });
  });
}

// ---- rows that are sorted

void SequentialEmitter::emitArgSort(lm::ArgSortOp op, S tile) {
  Buffer out = resultBuffer(op);
  SmallVector<SymExpr> dims = lm::getDims(op.getInput()), resultDims = lm::getDims(op.getType());
  SmallVector<SymExpr> rowDims = sortedRows(op);
  int64_t axis = op.getAxis();
  SymExpr rows = lm::product(rowDims), size = dims[axis];
  S step = b.size(rowsPerTile(op)), lo = b.op(Opcode::IMul, {tile, step});
  S hi = b.op(Opcode::Min, {b.op(Opcode::IAdd, {lo, step}), b.size(rows)});
  b.loop(LoopKind::Serial, lo, hi, {}, [&](S row, ArrayRef<S>) {
    SmallVector<Index> kept = indicesOf(row, rowDims);
    auto valueAt = [&](S i) {
      SmallVector<Index> at(kept);
      at.insert(at.begin() + axis, indexOf(i, size));
      return e.emit(op.getInput(), at);
    };
    auto compareRows = [&](S i, S j) {
      // -1, 0, 1 as found by the first elements that differ.
      Index x = indexOf(i, size), y = indexOf(j, size);
      S zero = b.index(0), found = b.loop(LoopKind::Serial, zero, b.size(dims[1]), {zero}, [&](S k, ArrayRef<S> sofar) {
        Index column = indexOf(k, dims[1]);
        S p = e.emit(op.getInput(), {x, column}), q = e.emit(op.getInput(), {y, column});
        S after = b.op(Opcode::Select, {isBefore(q, p, op.getDescending()), b.index(1), zero});
        S order = b.op(Opcode::Select, {isBefore(p, q, op.getDescending()), b.index(-1), after});
        return SmallVector<S>{b.op(Opcode::Select, {b.op(Opcode::Eq, {sofar[0], zero}), order, sofar[0]})};
      })[0];
      return b.op(Opcode::Lt, {found, zero});
    };
    Order order = sort(size, [&](S i, S j) {
      return op.getLexicographic() ? compareRows(i, j) : isBefore(valueAt(i), valueAt(j), op.getDescending());
    });
    forEach(resultDims[axis], [&](const Index &k) {
      SmallVector<Index> at(kept);
      at.insert(at.begin() + (op.getLexicographic() ? 0 : axis), k);
      S from = b.op(Opcode::IAdd, {order.base, e.valueOf(k)});
      store(out, linearize(at, resultDims), loadWritten(order.buffer, from));
    });
    return SmallVector<S>();
  });
}

void SequentialEmitter::emitTrueIndices(lm::TrueIndicesOp op) {
  Buffer out = resultBuffer(op);
  SymExpr size = lm::getDims(op.getMask())[0];
  b.loop(LoopKind::Serial, b.index(0), b.size(size), {b.index(0)}, [&](S i, ArrayRef<S> count) {
    S isTrue = e.emit(op.getMask(), {indexOf(i, size)});
    b.branch(isTrue, {}, false,
             [&] {
               store(out, count[0], i);
               return SmallVector<S>();
             },
             {});
    S next = b.op(Opcode::IAdd, {count[0], b.index(1)});
    return SmallVector<S>{b.op(Opcode::Select, {isTrue, next, count[0]})};
  });
}
