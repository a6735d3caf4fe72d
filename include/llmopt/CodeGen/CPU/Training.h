// Kernels that only training steps need.
#ifndef LLMOPT_CODEGEN_CPU_TRAINING_H
#define LLMOPT_CODEGEN_CPU_TRAINING_H

#include "llmopt/CodeGen/CPU/KernelBuilder.h"
#include "llmopt/CodeGen/CPU/Operand.h"

namespace llmopt::cpu {

/// A [k, n] matrix (with `transpose`, [n, k]) in the panels that GemmSpec reads. A tile
/// is a panel.
struct PackPanelsSpec {
  std::string name;
  int64_t n = 0, k = 0, width = 0;
  bool transpose = false;
  Operand in, out;
};
int64_t packPanelsTiles(const PackPanelsSpec &spec);
void emitPackPanels(KernelBuilder &kb, const PackPanelsSpec &spec);

/// out[v] = sum over i, in their order, of gradient[i] with ids[i] in {v, v - rows}. A
/// tile is a block of table rows, which walks all ids: their number times that of tiles
/// comparisons, and no two threads add to one row.
struct EmbeddingGradSpec {
  std::string name;
  int64_t rows = 0, width = 0;
  Size count; // of ids
  Operand ids, gradient, out;
  bool ids64 = true; // int64, else int32

  int64_t rowBlock = 1024;
};
int64_t embeddingGradTiles(const EmbeddingGradSpec &spec);
void emitEmbeddingGrad(KernelBuilder &kb, const EmbeddingGradSpec &spec);

} // namespace llmopt::cpu
#endif
