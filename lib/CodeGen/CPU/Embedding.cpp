// Embedding lookup: rows of one or more tables, summed, optionally normalised.
#include "RowLoops.h"
#include "llmopt/CodeGen/CPU/Rows.h"

namespace llmopt::cpu {
namespace {

int64_t rowBlock(const EmbeddingSpec &spec) {
  return spec.rowBlock ? spec.rowBlock : defaultRowBlock(spec.width);
}

/// The row of `table` that row r of the output takes, always inside the table.
V lookUp(KernelBuilder &kb, const EmbeddingSpec &spec,
         const EmbeddingSpec::Table &table, V r) {
  V position = table.period.isConstant(0) ? r : r % kb.size(table.period);
  V id = position + kb.size(table.first);
  if (table.ids) {
    mlir::Type type = table.ids64 ? kb.i64() : kb.i32();
    V base = kb.at(kb.arg(table.ids.arg), kb.size(table.ids.offset), type);
    id = kb.convert(kb.load(kb.at(base, position, type), type), kb.i64());
  }
  V n = kb.size(table.tableRows);
  id = kb.select(id < 0, id + n, id);
  V clamped = kb.maximum(kb.minimum(id, n - 1), kb.i(0));
  if (spec.flag)
    kb.ifThen(clamped != id, [&] {
      kb.store(
          kb.intConstant(kb.i32(), 1),
          kb.at(kb.arg(spec.flag.arg), kb.size(spec.flag.offset), kb.i32()));
    });
  return kb.at(kb.arg(table.table.arg),
               kb.size(table.table.offset) + clamped * spec.width);
}

} // namespace

SizeFormula embeddingTiles(const EmbeddingSpec &spec) {
  return rowTiles(spec.rows, rowBlock(spec));
}

void emitEmbedding(KernelBuilder &kb, const EmbeddingSpec &spec) {
  kb.beginKernel(spec.name);
  RowRange rows = tileRows(kb, spec.rows, rowBlock(spec));
  kb.loop(rows.first, rows.end, 1, [&](V r) {
    Values sources;
    for (const EmbeddingSpec::Table &table : spec.tables)
      sources.push_back(lookUp(kb, spec, table, r));
    auto load = [&](V offset, V mask) {
      V s = kb.loadMaybeMasked(kb.at(sources[0], offset), mask);
      for (V source : llvm::drop_begin(sources))
        s = s + kb.loadMaybeMasked(kb.at(source, offset), mask);
      return s;
    };
    V out = kb.at(kb.arg(spec.out.arg),
                  kb.size(spec.out.offset) + r * spec.width),
      sum;
    if (spec.sum)
      sum = kb.at(kb.arg(spec.sum.arg),
                  kb.size(spec.sum.offset) + r * spec.width);
    if (spec.norm == EmbeddingSpec::Norm::None) {
      forRow(kb, spec.width, [&](V offset, V mask) {
        V s = load(offset, mask);
        kb.storeMaybeMasked(s, kb.at(out, offset), mask);
        if (sum)
          kb.storeMaybeMasked(s, kb.at(sum, offset), mask);
      });
      return;
    }
    NormRow norm{spec.width, spec.norm == EmbeddingSpec::Norm::Rms,
                 spec.epsilon, spec.scale, spec.bias};
    emitNormRow(kb, norm, load, sum ? sum : out, out);
  });
  kb.finish();
}

} // namespace llmopt::cpu
