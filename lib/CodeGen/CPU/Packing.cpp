#include "llmopt/CodeGen/CPU/Packing.h"

#include <algorithm>

namespace llmopt::cpu {

void packBColumns(const PanelLayout &layout, const float *src, int64_t strideK,
                  int64_t strideN, int64_t firstColumn, int64_t columns,
                  float *dst) {
  const int64_t nr = layout.nr, k = layout.k, end = firstColumn + columns;
  for (int64_t column = firstColumn; column < end;) {
    int64_t lane = column % nr;
    int64_t width = std::min(nr - lane, end - column);
    const float *from = src + (column - firstColumn) * strideN;
    float *panel = dst + (column / nr) * k * nr + lane;
    if (strideN == 1) {
      for (int64_t p = 0; p < k; ++p)
        std::copy_n(from + p * strideK, width, panel + p * nr);
    } else {
      // A few steps of every column at a time: each cache line is fetched once.
      for (int64_t p0 = 0; p0 < k; p0 += 16)
        for (int64_t c = 0; c < width; ++c)
          for (int64_t p = p0; p < std::min(k, p0 + 16); ++p)
            panel[p * nr + c] = from[c * strideN + p * strideK];
    }
    column += width;
  }
  if (end == layout.n && end % nr != 0) {
    float *panel = dst + (end / nr) * k * nr;
    for (int64_t p = 0; p < k; ++p)
      std::fill_n(panel + p * nr + end % nr, nr - end % nr, 0.0f);
  }
}

void packB(const PanelLayout &layout, const float *src, int64_t strideK,
           int64_t strideN, float *dst) {
  packBColumns(layout, src, strideK, strideN, 0, layout.n, dst);
}

} // namespace llmopt::cpu
