// New tokens into a cache.
#include "llmopt/CodeGen/CPU/KVAppend.h"

#include "RowLoops.h"

namespace llmopt::cpu {

SizeFormula kvAppendTiles(const KVAppendSpec &spec) { return rowTiles(spec.batch, 1); }

void emitKVAppend(KernelBuilder &kb, const KVAppendSpec &spec) {
  kb.beginKernel(spec.name);
  V width = kb.size(spec.width), count = kb.size(spec.tokens) * width;
  V from = kb.at(kb.arg(spec.input.arg), kb.size(spec.input.offset) + kb.tile * count);
  V to = kb.at(kb.arg(spec.cache.arg),
               kb.size(spec.cache.offset) + (kb.tile * kb.size(spec.capacity) + kb.size(spec.past)) * width);
  kb.forVectors(count, [&](V offset, V mask) {
    kb.storeMaybeMasked(kb.loadMaybeMasked(kb.at(from, offset), mask), kb.at(to, offset), mask);
  });
  kb.finish();
}

} // namespace llmopt::cpu
