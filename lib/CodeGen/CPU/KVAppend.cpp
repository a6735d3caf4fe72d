// New tokens into a cache.
#include "llmopt/CodeGen/CPU/KVAppend.h"

#include "RowLoops.h"

namespace llmopt::cpu {

SizeFormula kvAppendTiles(const KVAppendSpec &spec) { return rowTiles(spec.batch, 1); }

void emitKVAppend(KernelBuilder &kb, const KVAppendSpec &spec) {
  kb.beginKernel(spec.name);
  V width = kb.size(spec.width), count = kb.size(spec.tokens) * width;
  mlir::Type element = spec.bytes ? kb.i8() : kb.f32();
  V from = kb.at(kb.arg(spec.input.arg), kb.size(spec.input.offset) + kb.tile * count, element);
  V to = kb.at(kb.arg(spec.cache.arg),
               kb.size(spec.cache.offset) + (kb.tile * kb.size(spec.capacity) + kb.size(spec.past)) * width, element);
  V zero = spec.bytes ? kb.intConstant(kb.vecOf(element), 0) : kb.splatConstant(0);
  kb.forVectors(count, [&](V offset, V mask) {
    V place = kb.at(from, offset, element);
    V moved = mask ? kb.loadMasked(place, mask, zero) : kb.load(place, zero.type());
    kb.storeMaybeMasked(moved, kb.at(to, offset, element), mask);
  });
  kb.finish();
}

} // namespace llmopt::cpu
