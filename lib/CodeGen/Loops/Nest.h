// Loop nests: which dimensions of a result are looped over jointly, in which
// order, and what makes a tile.
#ifndef LLMOPT_LIB_CODEGEN_LOOPS_NEST_H
#define LLMOPT_LIB_CODEGEN_LOOPS_NEST_H

#include "Emitter.h"

namespace llmopt::loops {

/// One result of a kernel.
struct Result {
  mlir::Value value;
  int64_t arg; // its buffer
};

/// A loop nest over the dimensions of its leading result, which may be split
/// where operations need their parts. The outer ones, in `order`, are one loop
/// over rows, of which a tile takes `rowsPerTile`; the inner ones are one loop
/// over elements, by lanes. Without outer ones a tile takes elements.
struct Nest {
  Result leader;              // of lm::Sequential: written by its procedure, `tiles` as that has them
  SmallVector<Result> others; // of the leader's dimensions
  SmallVector<Result> perRow; // of one element per row
  struct Part {
    size_t dim;
    SymExpr extent;
  };
  SmallVector<Part> parts; // row major; dimensions of 1 have none
  SmallVector<int> order;  // of parts
  size_t outer = 0;        // how many of `order` are rows
  bool parallel = true;    // whether elements go by lanes or threads
  SymExpr rows = 1, elements = 1, rowsPerTile = 1, tiles = 1;
};

/// Nests that compute all results.
std::vector<Nest> planNests(mlir::Block &block, ArrayRef<Result> results);

/// Writes the tile number `tile` of a nest.
void emitNest(ScalarBuilder &builder, mlir::Block &block, const Nest &nest, S tile);

} // namespace llmopt::loops

#endif
