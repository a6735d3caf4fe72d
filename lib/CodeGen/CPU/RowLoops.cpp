#include "RowLoops.h"

#include <algorithm>

namespace llmopt::cpu {

int64_t defaultRowBlock(Size width) {
  if (width.isDim)
    return 16;
  return std::clamp<int64_t>(16384 / std::max<int64_t>(1, width.value), 1, 64);
}

SizeFormula rowTiles(Size rows, int64_t rowBlock) {
  SizeFormula tiles;
  tiles.factors.push_back({rows, rowBlock});
  return tiles;
}

RowRange tileRows(KernelBuilder &kb, Size rows, int64_t rowBlock) {
  V n = kb.size(rows), tiles = kb.ceilDiv(n, rowBlock);
  return {n * kb.tile / tiles, n * (kb.tile + 1) / tiles};
}

void forRow(KernelBuilder &kb, V width, llvm::function_ref<void(V, V)> body) {
  kb.forVectors(width, body);
}

void forRow(KernelBuilder &kb, Size width,
            llvm::function_ref<void(V, V)> body) {
  if (width.isDim)
    return kb.forVectors(kb.size(width), body);
  int64_t full = width.value / kb.lanes() * kb.lanes();
  kb.loop(kb.i(0), kb.i(full), kb.lanes(),
          [&](V offset) { body(offset, V{}); });
  if (full < width.value)
    body(kb.i(full), kb.firstLanes(kb.i(width.value - full)));
}

Values foldRow(KernelBuilder &kb, V width, Values partials, RowStep step) {
  const int64_t block = rowPartialSums * kb.lanes();
  V full = width / block * block;
  partials = kb.loop(
      kb.i(0), full, block, partials, [&](V offset, llvm::ArrayRef<V> carried) {
        Values next;
        for (int64_t u = 0; u < rowPartialSums; ++u)
          next.push_back(step(carried[u], offset + u * kb.lanes(), V{}));
        return next;
      });
  for (int64_t u = 0; u < rowPartialSums; ++u) {
    V offset = full + u * kb.lanes();
    partials[u] = kb.ifThenElse(
        offset < width, {partials[u].type()},
        [&] {
          return Values{
              step(partials[u], offset, kb.firstLanes(width - offset))};
        },
        [&] { return Values{partials[u]}; })[0];
  }
  return partials;
}

Values foldRow(KernelBuilder &kb, Size width, Values partials, RowStep step) {
  if (width.isDim)
    return foldRow(kb, kb.size(width), partials, step);
  const int64_t block = rowPartialSums * kb.lanes(),
                full = width.value / block * block;
  partials = kb.loop(kb.i(0), kb.i(full), block, partials,
                     [&](V offset, llvm::ArrayRef<V> carried) {
                       Values next;
                       for (int64_t u = 0; u < rowPartialSums; ++u)
                         next.push_back(
                             step(carried[u], offset + u * kb.lanes(), V{}));
                       return next;
                     });
  for (int64_t u = 0; u < rowPartialSums; ++u) {
    int64_t offset = full + u * kb.lanes(), rest = width.value - offset;
    if (rest > 0)
      partials[u] = step(partials[u], kb.i(offset),
                         rest < kb.lanes() ? kb.firstLanes(kb.i(rest)) : V{});
  }
  return partials;
}

V sumPartials(KernelBuilder &kb, llvm::ArrayRef<V> p) {
  return kb.reduceAdd((p[0] + p[1]) + (p[2] + p[3]));
}

V maxPartials(KernelBuilder &kb, llvm::ArrayRef<V> p) {
  return kb.reduceMax(
      kb.maximum(kb.maximum(p[0], p[1]), kb.maximum(p[2], p[3])));
}

void emitNormRow(KernelBuilder &kb, const NormRow &norm,
                 llvm::function_ref<V(V, V)> load, V kept, V out) {
  const Values zeros(rowPartialSums, kb.splatConstant(0));
  auto onlyValid = [&](V value, V mask) {
    return mask ? kb.select(mask, value, kb.splatConstant(0)) : value;
  };
  auto again = [&](V offset, V mask) {
    return kept ? kb.loadMaybeMasked(kb.at(kept, offset), mask)
                : load(offset, mask);
  };

  V total = sumPartials(
      kb, foldRow(kb, norm.width, zeros, [&](V partial, V offset, V mask) {
        V s = load(offset, mask);
        if (kept)
          kb.storeMaybeMasked(s, kb.at(kept, offset), mask);
        s = onlyValid(s, mask);
        return norm.rms ? kb.fma(s, s, partial) : partial + s;
      }));
  V width = kb.f(norm.width);
  V mean = kb.f(0);
  V variance = total / width;
  if (!norm.rms) {
    mean = variance;
    V squares = sumPartials(
        kb, foldRow(kb, norm.width, zeros, [&](V partial, V offset, V mask) {
          V centred = onlyValid(again(offset, mask) - mean, mask);
          return kb.fma(centred, centred, partial);
        }));
    variance = squares / width;
  }
  V inverse = 1.0 / kb.sqrt(variance + norm.epsilon);

  auto parameter = [&](const Operand &p, V offset, V mask) {
    return kb.loadMaybeMasked(
        kb.at(kb.at(kb.arg(p.arg), kb.size(p.offset)), offset), mask);
  };
  forRow(kb, norm.width, [&](V offset, V mask) {
    V y = again(offset, mask);
    if (!norm.rms)
      y = y - mean;
    y = y * inverse;
    if (norm.scale)
      y = y * parameter(norm.scale, offset, mask);
    if (norm.bias)
      y = y + parameter(norm.bias, offset, mask);
    kb.storeMaybeMasked(y, kb.at(out, offset), mask);
  });
}

} // namespace llmopt::cpu
