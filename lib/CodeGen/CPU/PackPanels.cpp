// Panels of a weight that changes between runs.
#include "MicroKernel.h"
#include "llmopt/CodeGen/CPU/Training.h"

namespace llmopt::cpu {

int64_t packPanelsTiles(const PackPanelsSpec &spec) { return (spec.n + spec.width - 1) / spec.width; }

void emitPackPanels(KernelBuilder &kb, const PackPanelsSpec &spec) {
  kb.beginKernel(spec.name);
  V column = kb.tile * spec.width, columns = kb.minimum(kb.i(spec.n) - column, kb.i(spec.width));
  V in = kb.at(kb.arg(spec.in.arg), kb.size(spec.in.offset));
  V out = kb.at(kb.at(kb.arg(spec.out.arg), kb.size(spec.out.offset)), column * spec.k);
  if (spec.transpose)
    emitTranspose(kb, out, spec.width, kb.at(in, column * spec.k), kb.i(spec.k), columns, kb.i(spec.k));
  else
    emitCopyRows(kb, out, spec.width, kb.at(in, column), kb.i(spec.n), kb.i(spec.k), columns);
  if (spec.n % spec.width)
    kb.ifThen(columns < spec.width, [&] {
      kb.loop(kb.i(0), kb.i(spec.k), 1, [&](V step) {
        kb.loop(columns, kb.i(spec.width), 1, [&](V c) { kb.store(kb.f(0), kb.at(out, step * spec.width + c)); });
      });
    });
  kb.finish();
}

} // namespace llmopt::cpu
