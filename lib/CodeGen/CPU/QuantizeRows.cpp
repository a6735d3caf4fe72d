// Dynamic quantization of rows. The quotient is a true division, not a product
// with the reciprocal: near ties these round differently, and the integers must
// be those that the definition gives.
#include "RowLoops.h"
#include "llmopt/CodeGen/CPU/Int8.h"

namespace llmopt::cpu {

static int64_t rowBlock(const QuantizeRowsSpec &spec) {
  return spec.rowBlock ? spec.rowBlock : defaultRowBlock(spec.width);
}

SizeFormula quantizeRowsTiles(const QuantizeRowsSpec &spec) {
  return rowTiles(spec.rows, rowBlock(spec));
}

void emitQuantizeRow(KernelBuilder &kb, int64_t width, V x, V q, V scalePlace) {
  // Magnitudes are compared as bits: NaN > infinity > numbers.
  V none = kb.intConstant(kb.vecOf(kb.i32()), 0);
  V largest = maxPartials(
      kb, foldRow(kb, width, Values(rowPartialSums, none), [&](V partial, V offset, V mask) {
        V magnitude = kb.abs(kb.loadMaybeMasked(kb.at(x, offset), mask));
        return kb.maximum(partial, kb.bitcast(magnitude, kb.i32()));
      }));
  largest = kb.bitcast(largest, kb.f32());
  // The difference is NaN where the quotient alone would be infinite.
  V scale = kb.select(largest == 0.0, kb.f(1), largest / 127.0 + (largest - largest));
  kb.store(scale, scalePlace);
  V divisor = kb.splat(scale);
  // 1.5 * 2^23 + t is rounded to an integer, half to even; its low byte is q.
  auto quantize = [&](V t) {
    t = kb.minimum(kb.maximum(t, kb.like(t, -127.0)), kb.like(t, 127.0));
    return kb.convert(kb.bitcast(t + 12582912.0, kb.i32()), kb.i8());
  };
  // A last element that is alone in its vector is stored as a scalar: LLVM 22
  // writes four bytes for a truncating store whose mask is known to have one lane.
  const int64_t alone = width % kb.lanes() == 1 ? 1 : 0, last = width - 1;
  forRow(kb, Size(width - alone), [&](V offset, V mask) {
    V t = kb.loadMaybeMasked(kb.at(x, offset), mask) / divisor;
    kb.storeMaybeMasked(quantize(t), kb.at(q, offset, kb.i8()), mask);
  });
  if (alone)
    kb.store(quantize(kb.load(kb.at(x, last)) / scale), kb.at(q, last, kb.i8()));
}

void emitQuantizeRows(KernelBuilder &kb, const QuantizeRowsSpec &spec) {
  kb.beginKernel(spec.name);
  V xBase = kb.at(kb.arg(spec.x.arg), kb.size(spec.x.offset));
  V qBase = kb.at(kb.arg(spec.q.arg), kb.size(spec.q.offset), kb.i8());
  V scaleBase = kb.at(kb.arg(spec.scale.arg), kb.size(spec.scale.offset));

  RowRange rows = tileRows(kb, spec.rows, rowBlock(spec));
  kb.loop(rows.first, rows.end, 1, [&](V r) {
    V x = kb.at(xBase, r * spec.width), q = kb.at(qBase, r * spec.width, kb.i8());
    emitQuantizeRow(kb, spec.width, x, q, kb.at(scaleBase, r));
  });
  kb.finish();
}

} // namespace llmopt::cpu
