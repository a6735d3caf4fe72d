// Layer and RMS normalisation with what usually precedes them: the residual
// sum.
#include "RowLoops.h"
#include "llmopt/CodeGen/CPU/Rows.h"

namespace llmopt::cpu {

static int64_t rowBlock(const NormSpec &spec) {
  return spec.rowBlock ? spec.rowBlock : defaultRowBlock(spec.width);
}

SizeFormula normTiles(const NormSpec &spec) {
  return rowTiles(spec.rows, rowBlock(spec));
}

void emitNorm(KernelBuilder &kb, const NormSpec &spec) {
  kb.beginKernel(spec.name);
  auto row = [&](const Operand &operand, Size stride, V r) {
    V step = stride.isConstant(0) ? kb.i(spec.width) : kb.size(stride);
    return kb.at(kb.arg(operand.arg), kb.size(operand.offset) + r * step);
  };
  TensorScale tensorScale;
  if (spec.tensorScale)
    tensorScale = loadTensorScale(kb, spec.tensorScale, spec.tensorZeroPoint, spec.narrow);
  RowRange rows = tileRows(kb, spec.rows, rowBlock(spec));
  kb.loop(rows.first, rows.end, 1, [&](V r) {
    V x = row(spec.x, spec.ldx, r), out = row(spec.out, spec.ldOut, r),
      residual;
    if (spec.residual)
      residual = row(spec.residual, spec.ldResidual, r);
    // The sum is kept in `sum` if asked for, else in `out` until it is
    // normalised.
    V kept;
    if (spec.sum)
      kept = row(spec.sum, spec.ldSum, r);
    else if (spec.residual || spec.inputBias)
      kept = out;
    auto load = [&](V offset, V mask) {
      V s = kb.loadMaybeMasked(kb.at(x, offset), mask);
      if (spec.residual)
        s = s + kb.loadMaybeMasked(kb.at(residual, offset), mask);
      if (spec.inputBias)
        s = s +
            kb.loadMaybeMasked(kb.at(kb.arg(spec.inputBias.arg),
                                     kb.size(spec.inputBias.offset) + offset),
                               mask);
      return s;
    };
    emitNormRow(kb, {spec.width, spec.rms, spec.epsilon, spec.scale, spec.bias},
                load, kept, out);
    if (!spec.quantized)
      return;
    // The row is in the cache.
    V q = kb.at(kb.arg(spec.quantized.arg), kb.size(spec.quantized.offset) + r * spec.width, kb.i8());
    if (spec.tensorScale)
      return emitQuantizeRow(kb, spec.width, out, q, tensorScale);
    const int64_t part = spec.width / spec.quantizedGroups;
    V scales = kb.at(kb.arg(spec.quantizedScale.arg), kb.size(spec.quantizedScale.offset) + r * spec.quantizedGroups);
    emitQuantizeRows(kb, part, out, q, scales, kb.i(spec.quantizedGroups));
  });
  kb.finish();
}

} // namespace llmopt::cpu
