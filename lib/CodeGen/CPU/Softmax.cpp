// Softmax and its logarithm over the last dimension.
#include "RowLoops.h"
#include "llmopt/CodeGen/CPU/Rows.h"
#include "llmopt/CodeGen/CPU/VectorMath.h"

#include <limits>

namespace llmopt::cpu {

static int64_t rowBlock(const SoftmaxSpec &spec) {
  return spec.rowBlock ? spec.rowBlock : defaultRowBlock(spec.width);
}

SizeFormula softmaxTiles(const SoftmaxSpec &spec) {
  return rowTiles(spec.rows, rowBlock(spec));
}

void emitSoftmax(KernelBuilder &kb, const SoftmaxSpec &spec) {
  kb.beginKernel(spec.name);
  auto stride = [&](Size s) {
    return kb.size(s.isConstant(0) ? spec.width : s);
  };
  V ldx = stride(spec.ldx), ldOut = stride(spec.ldOut);
  V xBase = kb.at(kb.arg(spec.x.arg), kb.size(spec.x.offset));
  V outBase = kb.at(kb.arg(spec.out.arg), kb.size(spec.out.offset));
  const V lowest = kb.splatConstant(-std::numeric_limits<double>::infinity());

  RowRange rows = tileRows(kb, spec.rows, rowBlock(spec));
  kb.loop(rows.first, rows.end, 1, [&](V r) {
    V x = kb.at(xBase, r * ldx), out = kb.at(outBase, r * ldOut);
    auto load = [&](V offset, V mask) {
      V value = kb.loadMaybeMasked(kb.at(x, offset), mask);
      return spec.scale == 1.0
                 ? value
                 : kb.roundedProduct(value, kb.splatConstant(spec.scale));
    };
    V largest = maxPartials(
        kb, foldRow(kb, spec.width, Values(rowPartialSums, lowest),
                    [&](V partial, V offset, V mask) {
                      V value = load(offset, mask);
                      return kb.maximum(partial,
                                        mask ? kb.select(mask, value, lowest)
                                             : value);
                    }));
    V zero = kb.splatConstant(0);
    V total = sumPartials(
        kb, foldRow(kb, spec.width, Values(rowPartialSums, zero),
                    [&](V partial, V offset, V mask) {
                      V e =
                          emitExpNonPositive(kb, load(offset, mask) - largest);
                      if (!spec.logarithm)
                        kb.storeMaybeMasked(e, kb.at(out, offset), mask);
                      return partial + (mask ? kb.select(mask, e, zero) : e);
                    }));
    V factor = spec.logarithm ? emitLog(kb, total) : 1.0 / total;
    forRow(kb, spec.width, [&](V offset, V mask) {
      V place = kb.at(out, offset);
      V y = spec.logarithm ? (load(offset, mask) - largest) - factor
                           : kb.loadMaybeMasked(place, mask) * factor;
      kb.storeMaybeMasked(y, place, mask);
    });
  });
  kb.finish();
}

} // namespace llmopt::cpu
