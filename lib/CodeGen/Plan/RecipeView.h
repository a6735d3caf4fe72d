// Tensors that a recipe works on, and the packed forms it ends in. Private to this
// library; like Recipe.h without LLVM or MLIR.
#ifndef LLMOPT_LIB_CODEGEN_PLAN_RECIPEVIEW_H
#define LLMOPT_LIB_CODEGEN_PLAN_RECIPEVIEW_H

#include "llmopt/CodeGen/Plan/Recipe.h"

#include <memory>

namespace llmopt::recipe {

using Dims = std::vector<int64_t>;

/// A tensor somewhere in memory; strides in elements.
struct View {
  const char *data = nullptr;
  uint32_t dtype = 0;
  Dims dims, strides;
  std::shared_ptr<char> memory; // of data; none for mapped weights and constants

  int64_t count() const {
    int64_t n = 1;
    for (int64_t d : dims)
      n *= d;
    return n;
  }
};

/// A [K, N] matrix as [ceil(N/width)][K][width]. All of these are false where the
/// sink has stopped.
bool writePanels(const View &view, int64_t width, const RecipeSink &sink);
/// A [K, N] matrix as [N][K rounded up to `width`], which are panels of one column.
bool writeRows(const View &view, int64_t width, const RecipeSink &sink);
/// Panels of int8 with `group` steps of K side by side (Recipe::Op::Panels).
bool writeSteps(const View &view, int64_t width, int64_t group, int64_t shift, const RecipeSink &sink);
/// Blocks of kernel.pack_groups; `zero` is null for symmetric weights.
bool writeGroups(const View &q, const View &scale, const View *zero, int64_t width, int64_t offset,
                 const RecipeSink &sink);
/// The same as rows: nibbles, scales, zero points, each part from a multiple of 16 bytes.
bool writeGroupRows(const View &q, const View &scale, const View *zero, int64_t offset, const RecipeSink &sink);

} // namespace llmopt::recipe

#endif
