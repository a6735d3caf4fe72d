// Reductions, scans and softmax.
#include "Emitter.h"

#include "llvm/ADT/TypeSwitch.h"

#include <limits>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::loops;

static constexpr double kInf = std::numeric_limits<double>::infinity();

static int64_t lowest(Elem e) {
  return isUnsigned(e) ? 0 : static_cast<int64_t>(~uint64_t(0) << (bitWidth(e) - 1));
}
static int64_t highest(Elem e) {
  unsigned bits = bitWidth(e);
  return isUnsigned(e) ? (bits == 64 ? -1 : (int64_t(1) << bits) - 1) : ~lowest(e);
}

S Emitter::emitReduce(lm::ReduceOp op, ArrayRef<Index> indices) {
  using lm::ReduceKind;
  ReduceKind kind = op.getKind();
  SmallVector<SymExpr> dims = lm::getDims(op.getInput()), extents;
  Elem memory = elemOfTensor(op.getInput()), elem = computeElem(memory);
  SmallVector<Index> at(dims.size()), kept;
  SmallVector<size_t> axes;
  for (size_t i = 0, next = 0; i < dims.size(); ++i) {
    if (llvm::is_contained(op.getAxes(), static_cast<int64_t>(i))) {
      axes.push_back(i);
      extents.push_back(dims[i]);
      next += op.getKeepdims();
    } else {
      at[i] = indices[next++];
      kept.push_back(at[i]);
    }
  }
  bool intMean = kind == ReduceKind::Mean && !isFloat(elem);
  if (intMean) // the sum before the division does not wrap
    elem = isUnsigned(elem) ? Elem::U64 : Elem::I64;
  else if (kind == ReduceKind::L2 && !isFloat(elem))
    elem = Elem::F64;

  auto element = [&](ArrayRef<Index> inner) {
    for (auto [axis, index] : llvm::zip(axes, inner))
      at[axis] = index;
    return cast(emit(op.getInput(), at), elem);
  };
  auto fold = [&](S initial, Opcode code, llvm::function_ref<S(S)> map) {
    return reduce(extents, {initial},
                  [&](ArrayRef<Index> inner, ArrayRef<S> sum) {
                    return SmallVector<S>{b.op(code, {sum[0], map(element(inner))})};
                  },
                  [&](ArrayRef<S> x, ArrayRef<S> y) { return SmallVector<S>{b.op(code, {x[0], y[0]})}; })[0];
  };
  auto same = [](S x) { return x; };
  S zero = b.constant(elem, int64_t(0));
  auto extreme = [&](bool max) {
    S start = isFloat(elem) ? real(elem, max ? -kInf : kInf) : b.constant(elem, max ? lowest(elem) : highest(elem));
    return fold(start, max ? Opcode::Max : Opcode::Min, same);
  };
  SymExpr count = lm::product(extents);
  S result;
  b.atLevel(placeForReduction(kept), [&] {
    switch (kind) {
    case ReduceKind::Sum:
      result = fold(zero, Opcode::Add, same);
      break;
    case ReduceKind::Mean:
      result = fold(zero, Opcode::Add, same);
      result = isFloat(elem) ? b.op(Opcode::Div, {result, floatSize(elem, count)})
                             : divide(result, cast(b.size(count), elem));
      break;
    case ReduceKind::Max:
      result = extreme(true);
      break;
    case ReduceKind::Min:
      result = extreme(false);
      break;
    case ReduceKind::Prod:
      result = fold(b.constant(elem, int64_t(1)), Opcode::Mul, same);
      break;
    case ReduceKind::L1:
      result = fold(zero, Opcode::Add, [&](S x) {
        if (isFloat(elem))
          return b.op(Opcode::Abs, {x});
        return isUnsigned(elem) ? x : b.op(Opcode::Select, {b.op(Opcode::Lt, {x, zero}), b.op(Opcode::Neg, {x}), x});
      });
      break;
    case ReduceKind::L2:
    case ReduceKind::SumSquare:
      result = fold(zero, Opcode::Add, [&](S x) { return b.op(Opcode::Mul, {x, x}); });
      if (kind == ReduceKind::L2)
        result = b.op(Opcode::Sqrt, {result});
      break;
    case ReduceKind::LogSum:
      result = b.op(Opcode::Log, {fold(zero, Opcode::Add, same)});
      break;
    case ReduceKind::LogSumExp: {
      S largest = extreme(true);
      S sum = fold(zero, Opcode::Add, [&](S x) { return b.op(Opcode::ExpNonPositive, {b.op(Opcode::Sub, {x, largest})}); });
      S finite = b.op(Opcode::Lt, {b.op(Opcode::Abs, {largest}), real(elem, kInf)});
      result = b.op(Opcode::Select, {finite, b.op(Opcode::Add, {largest, b.op(Opcode::Log, {sum})}), largest});
      break;
    }
    }
    result = cast(result, memory);
  });
  return result;
}

/// The best element so far is a pair (value, index); index -1 is none.
S Emitter::emitArgReduce(lm::ArgReduceOp op, ArrayRef<Index> indices) {
  SmallVector<SymExpr> dims = lm::getDims(op.getInput());
  int64_t axis = op.getAxis();
  SmallVector<Index> at(indices);
  if (op.getKeepdims())
    at.erase(at.begin() + axis);
  SmallVector<Index> kept = at;
  at.insert(at.begin() + axis, Index(0));
  Elem elem = computeElem(elemOfTensor(op.getInput()));
  auto better = [&](ArrayRef<S> best, S value, S index) {
    S wins = b.op(op.getSmallest() ? Opcode::Lt : Opcode::Gt, {value, best[0]}), equal = b.op(Opcode::Eq, {value, best[0]});
    if (isFloat(elem)) {
      S nan = b.op(Opcode::Ne, {value, value}), bestNaN = b.op(Opcode::Ne, {best[0], best[0]});
      wins = b.op(Opcode::Or, {wins, b.op(Opcode::And, {nan, b.op(Opcode::Not, {bestNaN})})});
      equal = b.op(Opcode::Or, {equal, b.op(Opcode::And, {nan, bestNaN})});
    }
    S tie = b.op(op.getLast() ? Opcode::Gt : Opcode::Lt, {index, best[1]});
    wins = b.op(Opcode::Or, {wins, b.op(Opcode::And, {equal, tie})});
    wins = b.op(Opcode::Or, {wins, b.op(Opcode::Lt, {best[1], b.index(0)})});
    wins = b.op(Opcode::And, {wins, b.op(Opcode::Ge, {index, b.index(0)})});
    return SmallVector<S>{b.op(Opcode::Select, {wins, value, best[0]}), b.op(Opcode::Select, {wins, index, best[1]})};
  };
  S result;
  b.atLevel(placeForReduction(kept), [&] {
    result = reduce({dims[axis]}, {b.constant(elem, int64_t(0)), b.index(-1)},
                    [&](ArrayRef<Index> inner, ArrayRef<S> best) {
                      at[axis] = inner[0];
                      return better(best, emit(op.getInput(), at), valueOf(inner[0]));
                    },
                    [&](ArrayRef<S> x, ArrayRef<S> y) { return better(x, y[0], y[1]); })[1];
  });
  return result;
}

/// Running sums and products.
S Emitter::emitScan(Operation *op, const Scan &scan, ArrayRef<Index> indices) {
  int64_t axis = scan.axis;
  SymExpr extent = lm::getDims(scan.input)[axis];
  Elem elem = computeElem(elemOfTensor(scan.input));
  SmallVector<Index> kept(indices);
  kept.erase(kept.begin() + axis);
  Row row = rowOf(scan.input, indices, axis, false);
  auto position = [&](const Index &k) { return scan.reverse ? Index(extent - SymExpr(1)) - k : k; };
  S neutral = b.constant(elem, scan.neutral);
  std::string key = "scan" + std::to_string(reinterpret_cast<uintptr_t>(op));
  for (const Index &index : kept)
    key += "," + index.key();
  Cached state = rowState(key, placeForReduction(kept), [&] {
    Cached made;
    if (b.inLanes())
      return made;
    Buffer buffer = b.scratch(elem, extent);
    buffer.level = b.currentLevel();
    b.barrierSync();
    b.loop(LoopKind::Serial, b.index(0), b.size(extent), {neutral}, [&](S variable, ArrayRef<S> carried) {
      Index k = position(Index::var(addVar(variable, extent)));
      S next = b.op(scan.code, {carried[0], row(k)});
      Address address = addressOf(k);
      b.store(buffer, address.access, address.offset, scan.exclusive ? carried[0] : next);
      return SmallVector<S>{next};
    });
    b.barrierSync();
    made.row = buffer;
    return made;
  });
  if (state.row)
    return loadRow(*state.row, indices[axis]);
  // A row per lane: every element takes up what is before it.
  S result;
  b.atLevel(placeFor(indices), [&] {
    S here = valueOf(position(indices[axis]));
    result = reduce({extent}, {neutral},
                    [&](ArrayRef<Index> inner, ArrayRef<S> carried) {
                      S k = valueOf(inner[0]), counts = b.op(scan.exclusive ? Opcode::Lt : Opcode::Le, {k, here});
                      S next = b.op(scan.code, {carried[0], row(position(inner[0]))});
                      return SmallVector<S>{b.op(Opcode::Select, {counts, next, carried[0]})};
                    },
                    [&](ArrayRef<S> x, ArrayRef<S> y) { return SmallVector<S>{b.op(scan.code, {x[0], y[0]})}; })[0];
  });
  return result;
}

S Emitter::emitSoftmax(lm::SoftmaxOp op, ArrayRef<Index> indices) {
  int64_t axis = op.getAxis();
  SymExpr extent = lm::getDims(op.getInput())[axis];
  Elem elem = computeElem(elemOfTensor(op.getInput()));
  SmallVector<Index> kept(indices);
  kept.erase(kept.begin() + axis);
  std::string key = "softmax" + std::to_string(reinterpret_cast<uintptr_t>(op.getOperation()));
  for (const Index &index : kept)
    key += "," + index.key();
  // values: max, sum (or its logarithm); row: exp(x - max), or x for the logarithm.
  Cached state = rowState(key, placeForReduction(kept), [&] {
    Cached made;
    Row row = rowOf(op.getInput(), indices, axis, false);
    if (costOf(op.getInput()) > 8)
      if (std::optional<Buffer> staged = stage(extent, elem, row)) {
        made.row = staged;
        row = [this, staged](const Index &k) { return loadRow(*staged, k); };
      }
    S largest = maxOf(extent, elem, row);
    Row exponential = [&](const Index &k) { return b.op(Opcode::ExpNonPositive, {b.op(Opcode::Sub, {row(k), largest})}); };
    S sum;
    if (op.getLog()) {
      sum = b.op(Opcode::Log, {sumOf(extent, elem, exponential)});
    } else {
      made.row = stage(extent, elem, exponential);
      sum = made.row ? sumOf(extent, elem, [&](const Index &k) { return loadRow(*made.row, k); })
                     : sumOf(extent, elem, exponential);
    }
    made.values = {largest, sum};
    return made;
  });
  S largest = state.values[0], sum = state.values[1];
  if (op.getLog()) {
    S x = state.row ? loadRow(*state.row, indices[axis]) : emit(op.getInput(), indices);
    return b.op(Opcode::Sub, {b.op(Opcode::Sub, {x, largest}), sum});
  }
  S exponential = state.row
                      ? loadRow(*state.row, indices[axis])
                      : b.op(Opcode::ExpNonPositive, {b.op(Opcode::Sub, {emit(op.getInput(), indices), largest})});
  return b.op(Opcode::Div, {exponential, sum});
}

std::optional<S> Emitter::emitReductions(Operation *op, ArrayRef<Index> indices) {
  return llvm::TypeSwitch<Operation *, std::optional<S>>(op)
      .Case<lm::ReduceOp>([&](lm::ReduceOp reduce) { return emitReduce(reduce, indices); })
      .Case<lm::ArgReduceOp>([&](lm::ArgReduceOp reduce) { return emitArgReduce(reduce, indices); })
      .Case<lm::CumSumOp>([&](lm::CumSumOp sum) {
        Scan scan{sum.getInput(), static_cast<int64_t>(sum.getAxis()), sum.getExclusive(), sum.getReverse(),
                  Opcode::Add, 0};
        return emitScan(sum, scan, indices);
      })
      .Case<lm::CumProdOp>([&](lm::CumProdOp product) {
        Scan scan{product.getInput(), static_cast<int64_t>(product.getAxis()), product.getExclusive(),
                  product.getReverse(), Opcode::Mul, 1};
        return emitScan(product, scan, indices);
      })
      .Case<lm::SoftmaxOp>([&](lm::SoftmaxOp softmax) { return emitSoftmax(softmax, indices); })
      .Default([](Operation *) { return std::nullopt; });
}
