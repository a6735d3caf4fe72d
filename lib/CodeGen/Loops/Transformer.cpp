// Normalisation, and attention as the slow form that always works.
#include "Emitter.h"

#include "llvm/ADT/TypeSwitch.h"

#include <limits>

using namespace mlir;
using namespace llmopt;
using namespace llmopt::loops;

static std::string keyOf(const char *what, Operation *op, ArrayRef<Index> indices) {
  std::string key = what + std::to_string(reinterpret_cast<uintptr_t>(op));
  for (const Index &index : indices)
    key += "," + index.key();
  return key;
}

S Emitter::emitNorm(lm::NormOp op, ArrayRef<Index> indices) {
  SymExpr width = lm::getDims(op.getInput()).back();
  Elem elem = computeElem(elemOfTensor(op.getInput()));
  bool layer = op.getKind() == lm::NormKind::Layer;
  ArrayRef<Index> kept = indices.drop_back();
  int64_t axis = kept.size();
  // values: 1 / deviation, mean; row: x, where it is costly.
  Cached state = rowState(keyOf("norm", op, kept), placeForReduction(kept), [&] {
    Cached made;
    Row row = rowOf(op.getInput(), indices, axis, false);
    if (costOf(op.getInput()) > 8)
      if (std::optional<Buffer> staged = stage(width, elem, row)) {
        made.row = staged;
        row = [this, staged](const Index &k) { return loadRow(*staged, k); };
      }
    S count = floatSize(elem, width), mean;
    if (layer)
      mean = b.op(Opcode::Div, {sumOf(width, elem, row), count});
    S squares = sumOf(width, elem, [&](const Index &k) {
      S centred = layer ? b.op(Opcode::Sub, {row(k), mean}) : row(k);
      return b.op(Opcode::Mul, {centred, centred});
    });
    S variance = b.op(Opcode::Add, {b.op(Opcode::Div, {squares, count}), real(elem, op.getEpsilon().convertToDouble())});
    made.values.push_back(b.op(Opcode::Div, {real(elem, 1), b.op(Opcode::Sqrt, {variance})}));
    if (layer)
      made.values.push_back(mean);
    return made;
  });
  S x = state.row ? loadRow(*state.row, indices.back()) : emit(op.getInput(), indices);
  if (layer)
    x = b.op(Opcode::Sub, {x, state.values[1]});
  x = b.op(Opcode::Mul, {x, state.values[0]});
  if (op.getScale())
    x = b.op(Opcode::Mul, {x, cast(emit(op.getScale(), {indices.back()}), elem)});
  if (op.getBias())
    x = b.op(Opcode::Add, {x, cast(emit(op.getBias(), {indices.back()}), elem)});
  return x;
}

S Emitter::emitAttention(lm::AttentionOp op, ArrayRef<Index> indices) {
  const double inf = std::numeric_limits<double>::infinity();
  SmallVector<SymExpr> query = lm::getDims(op.getQuery()), key = lm::getDims(op.getKey()),
                       value = lm::getDims(op.getValue());
  int64_t heads = op.getNumHeads(), kvHeads = op.getKvNumHeads();
  SymExpr D = SymExpr::floorDiv(query[2], heads), Dv = SymExpr::floorDiv(value[2], kvHeads), Sk = key[1];
  Elem elem = computeElem(elemOfTensor(op.getQuery()));
  auto [head, column] = divMod(indices[2], Dv);
  Index kvHead = divMod(head, heads / kvHeads).first, batch = indices[0], row = indices[1];
  SmallVector<Index> kept{batch, row, head};
  bool hides = op.getCausal() || op.getMaskKind() == lm::MaskKind::Boolean ||
               op.getMaskKind() == lm::MaskKind::KeyLengths;
  SmallVector<SymExpr> maskDims{query[0], SymExpr(heads), query[1], Sk};
  auto maskAt = [&](const Index &j) { return emitBroadcast(op.getMask(), {batch, head, row, j}, maskDims); };
  auto visible = [&](const Index &j) {
    S result;
    auto require = [&](S condition) { result = result ? b.op(Opcode::And, {result, condition}) : condition; };
    if (op.getCausal())
      require(b.op(Opcode::Le, {valueOf(j), valueOf(row + Index(Sk - query[1]))}));
    if (op.getMaskKind() == lm::MaskKind::Boolean)
      require(maskAt(j));
    if (op.getMaskKind() == lm::MaskKind::KeyLengths)
      require(b.op(Opcode::Lt, {valueOf(j), cast(emit(op.getMask(), {batch}), Elem::I64)}));
    return result;
  };
  Row score = [&](const Index &j) {
    S dot;
    b.atLevel(placeForReduction({batch, row, head, j}), [&] {
      dot = sumOf(D, elem, [&](const Index &d) {
        S q = emit(op.getQuery(), {batch, row, head * D + d}), k = emit(op.getKey(), {batch, j, kvHead * D + d});
        return b.op(Opcode::Mul, {q, cast(k, elem)});
      });
    });
    S scaled = b.op(Opcode::Mul, {dot, real(elem, op.getScale().convertToDouble())});
    if (op.getMaskKind() == lm::MaskKind::Additive)
      scaled = b.op(Opcode::Add, {scaled, cast(maskAt(j), elem)});
    return hides ? b.op(Opcode::Select, {visible(j), scaled, real(elem, -inf)}) : scaled;
  };
  // values: max, sum, whether all keys count alike; row: exp(score - max).
  auto weightOf = [&](S score, ArrayRef<S> state) {
    S weight = b.op(Opcode::ExpNonPositive, {b.op(Opcode::Sub, {score, state[0]})});
    if (op.getFullyMasked() == lm::FullyMasked::NaN)
      return weight;
    S alike = real(elem, op.getFullyMasked() == lm::FullyMasked::Zero ? 0 : 1);
    return b.op(Opcode::Select, {state[2], alike, weight});
  };
  Cached state = rowState(keyOf("attention", op, kept), placeForReduction(kept), [&] {
    Cached made;
    Row scores = score;
    // Threads take a key each; with lanes, the dot products use them.
    if (std::optional<Buffer> staged = stage(Sk, elem, score, b.hasThreads()))
      scores = [this, staged](const Index &j) { return loadRow(*staged, j); };
    S largest = maxOf(Sk, elem, scores), none = b.op(Opcode::Eq, {largest, real(elem, -inf)});
    if (op.getFullyMasked() == lm::FullyMasked::Source) {
      // Only hidden keys were given one finite score; an additive -inf gives NaN.
      S any = b.constant(Elem::Bool, int64_t(1));
      if (hides)
        any = reduce({Sk}, {b.constant(Elem::Bool, int64_t(0))},
                     [&](ArrayRef<Index> j, ArrayRef<S> seen) {
                       return SmallVector<S>{b.op(Opcode::Or, {seen[0], visible(j[0])})};
                     },
                     [&](ArrayRef<S> x, ArrayRef<S> y) { return SmallVector<S>{b.op(Opcode::Or, {x[0], y[0]})}; })[0];
      none = b.op(Opcode::And, {none, b.op(Opcode::Not, {any})});
    }
    made.values = {largest, S(), none};
    Row weights = [&](const Index &j) { return weightOf(scores(j), made.values); };
    made.row = stage(Sk, elem, weights);
    S sum = made.row ? sumOf(Sk, elem, [&](const Index &j) { return loadRow(*made.row, j); })
                     : sumOf(Sk, elem, weights);
    if (op.getFullyMasked() == lm::FullyMasked::Zero)
      sum = b.op(Opcode::Select, {none, real(elem, 1), sum});
    made.values[1] = sum;
    return made;
  });
  S result;
  b.atLevel(placeForReduction(indices), [&] {
    result = sumOf(Sk, elem, [&](const Index &j) {
      S weight = state.row ? loadRow(*state.row, j) : weightOf(score(j), state.values);
      S v = cast(emit(op.getValue(), {batch, j, kvHead * Dv + column}), elem);
      // A masked key counts for nothing, whatever its value holds.
      S product = b.op(Opcode::Mul, {weight, v}), zero = real(elem, 0);
      return b.op(Opcode::Select, {b.op(Opcode::Eq, {weight, zero}), zero, product});
    });
  });
  return b.op(Opcode::Div, {result, state.values[1]});
}

std::optional<S> Emitter::emitTransformer(Operation *op, ArrayRef<Index> indices) {
  return llvm::TypeSwitch<Operation *, std::optional<S>>(op)
      .Case<lm::NormOp>([&](lm::NormOp norm) { return emitNorm(norm, indices); })
      .Case<lm::AttentionOp>([&](lm::AttentionOp attention) { return emitAttention(attention, indices); })
      .Default([](Operation *) { return std::nullopt; });
}
