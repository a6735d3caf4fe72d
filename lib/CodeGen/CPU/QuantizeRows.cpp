// Dynamic quantization of rows. The quotient is a true division, not a product
// with the reciprocal: near ties these round differently, and the integers must
// be those that the definition gives.
#include "RowLoops.h"
#include "llmopt/CodeGen/CPU/Int8.h"

namespace llmopt::cpu {

static int64_t rowBlock(const QuantizeRowsSpec &spec) {
  return spec.rowBlock ? spec.rowBlock : defaultRowBlock(spec.width);
}

SizeFormula quantizeRowsTiles(const QuantizeRowsSpec &spec) { return rowTiles(spec.rows, rowBlock(spec)); }

/// q = the low bytes of place(x / scale), where `place` limits a quotient and adds
/// 1.5 * 2^23 to it, which rounds it to an integer, half to even.
static void storeQuantized(KernelBuilder &kb, int64_t width, V x, V q, V scale, llvm::function_ref<V(V)> place) {
  V divisor = kb.splat(scale);
  auto quantize = [&](V t) { return kb.convert(kb.bitcast(place(t), kb.i32()), kb.i8()); };
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

constexpr double kRounding = 12582912.0;

void emitQuantizeRow(KernelBuilder &kb, int64_t width, V x, V q, V scalePlace) {
  // Magnitudes are compared as bits: NaN > infinity > numbers.
  V none = kb.intConstant(kb.vecOf(kb.i32()), 0);
  V largest = maxPartials(kb, foldRow(kb, width, Values(rowPartialSums, none), [&](V partial, V offset, V mask) {
                            V magnitude = kb.abs(kb.loadMaybeMasked(kb.at(x, offset), mask));
                            return kb.maximum(partial, kb.bitcast(magnitude, kb.i32()));
                          }));
  largest = kb.bitcast(largest, kb.f32());
  // The difference is NaN where the quotient alone would be infinite.
  V scale = kb.select(largest == 0.0, kb.f(1), largest / 127.0 + (largest - largest));
  kb.store(scale, scalePlace);
  storeQuantized(kb, width, x, q, scale,
                 [&](V t) { return kb.minimum(kb.maximum(t, kb.like(t, -127.0)), kb.like(t, 127.0)) + kRounding; });
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

SizeFormula quantizeTensorTiles(const QuantizeTensorSpec &spec) {
  return rowTiles(spec.rows, defaultRowBlock(spec.width));
}

TensorScale loadTensorScale(KernelBuilder &kb, const Operand &scale, const Operand &zeroPoint, bool narrow) {
  TensorScale s;
  s.scale = kb.load(kb.at(kb.arg(scale.arg), kb.size(scale.offset)));
  // The quotient is limited so that the sum with the zero point fits: limits are
  // integers, so rounding first or last makes no difference. NaN is not above any.
  s.lowest = kb.f(narrow ? -127 : -128);
  s.highest = kb.f(127);
  if (zeroPoint) {
    V at = kb.at(kb.arg(zeroPoint.arg), kb.size(zeroPoint.offset), kb.i8());
    s.zero = kb.toFloat(kb.convert(kb.load(at, kb.i8()), kb.i32()), kb.f32());
    s.lowest = s.lowest - s.zero;
    s.highest = s.highest - s.zero;
  }
  return s;
}

void emitQuantizeRow(KernelBuilder &kb, int64_t width, V x, V q, const TensorScale &s) {
  storeQuantized(kb, width, x, q, s.scale, [&](V t) {
    auto like = [&](V value) { return mlir::isa<mlir::VectorType>(t.type()) ? kb.splat(value) : value; };
    t = kb.minimum(kb.maximum(t, like(s.lowest)), like(s.highest)) + kRounding;
    return s.zero ? t + like(s.zero) : t;
  });
}

void emitQuantizeTensor(KernelBuilder &kb, const QuantizeTensorSpec &spec) {
  kb.beginKernel(spec.name);
  V xBase = kb.at(kb.arg(spec.x.arg), kb.size(spec.x.offset));
  V qBase = kb.at(kb.arg(spec.q.arg), kb.size(spec.q.offset), kb.i8());
  TensorScale scale = loadTensorScale(kb, spec.scale, spec.zeroPoint, spec.narrow);
  RowRange rows = tileRows(kb, spec.rows, defaultRowBlock(spec.width));
  kb.loop(rows.first, rows.end, 1, [&](V r) {
    V x = kb.at(xBase, r * spec.width), q = kb.at(qBase, r * spec.width, kb.i8());
    emitQuantizeRow(kb, spec.width, x, q, scale);
  });
  kb.finish();
}

} // namespace llmopt::cpu
