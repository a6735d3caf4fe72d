// Writing constant matrices in the layouts kernels read. Plain C++, streaming:
// the source is read once and may be mapped; nothing is allocated.
#ifndef LLMOPT_CODEGEN_CPU_PACKING_H
#define LLMOPT_CODEGEN_CPU_PACKING_H

#include "llmopt/CodeGen/CPU/TargetInfo.h"

#include <cstdint>

namespace llmopt::cpu {

/// "panels:NR": [ceil(N/NR)][K][NR] f32, columns beyond N are zero.
struct PanelLayout {
  int64_t n = 0, k = 0;
  int64_t nr = 0;

  static PanelLayout forGemm(const TargetInfo &target, int64_t n, int64_t k) {
    return {n, k, target.gemmNR()};
  }
  int64_t panels() const { return (n + nr - 1) / nr; }
  int64_t bytes() const { return panels() * k * nr * 4; }
};

/// Packs B. Element (k, n) of the source is src[k * strideK + n * strideN]: a
/// [K, N] matrix has strides (N, 1), an [N, K] one (1, K).
void packB(const PanelLayout &layout, const float *src, int64_t strideK,
           int64_t strideN, float *dst);

/// Packs columns [firstColumn, firstColumn + columns) only, for sources that
/// are concatenated (joint Q, K, V projections) or read piecewise. `src` points
/// at the first of these columns. Zeroes the padding if it writes the last
/// column.
void packBColumns(const PanelLayout &layout, const float *src, int64_t strideK,
                  int64_t strideN, int64_t firstColumn, int64_t columns,
                  float *dst);

} // namespace llmopt::cpu
#endif
