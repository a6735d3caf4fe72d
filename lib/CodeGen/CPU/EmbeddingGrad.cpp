// The gradient of an embedding table.
#include "RowLoops.h"
#include "llmopt/CodeGen/CPU/Training.h"

namespace llmopt::cpu {

int64_t embeddingGradTiles(const EmbeddingGradSpec &spec) { return (spec.rows + spec.rowBlock - 1) / spec.rowBlock; }

void emitEmbeddingGrad(KernelBuilder &kb, const EmbeddingGradSpec &spec) {
  kb.beginKernel(spec.name);
  V first = kb.tile * spec.rowBlock, end = kb.minimum(first + spec.rowBlock, kb.i(spec.rows));
  V out = kb.at(kb.arg(spec.out.arg), kb.size(spec.out.offset));
  V gradient = kb.at(kb.arg(spec.gradient.arg), kb.size(spec.gradient.offset));
  mlir::Type type = spec.ids64 ? kb.i64() : kb.i32();
  V ids = kb.at(kb.arg(spec.ids.arg), kb.size(spec.ids.offset), type);
  V block = kb.at(out, first * spec.width);
  kb.forVectors((end - first) * spec.width,
                [&](V offset, V mask) { kb.storeMaybeMasked(kb.splatConstant(0), kb.at(block, offset), mask); });
  kb.loop(kb.i(0), kb.size(spec.count), 1, [&](V i) {
    V id = kb.convert(kb.load(kb.at(ids, i, type), type), kb.i64());
    id = kb.select(id < 0, id + spec.rows, id);
    // One unsigned comparison would do; two are as cheap beside the rows.
    kb.ifThen((id >= first) & (id < end), [&] {
      V to = kb.at(out, id * spec.width), from = kb.at(gradient, i * spec.width);
      forRow(kb, Size(spec.width), [&](V offset, V mask) {
        V sum = kb.loadMaybeMasked(kb.at(to, offset), mask) + kb.loadMaybeMasked(kb.at(from, offset), mask);
        kb.storeMaybeMasked(sum, kb.at(to, offset), mask);
      });
    });
  });
  kb.finish();
}

} // namespace llmopt::cpu
