// Operations whose elements follow from each other (lm::Sequential): their
// results are written by a procedure, one after the other, instead of being
// computed at an index.
//
// A procedure reads operands as every operation does, and its own result and
// scratch memory through loadWritten, which stays where it stands. On a GPU one
// thread of a block does all of it.
#ifndef LLMOPT_LIB_CODEGEN_LOOPS_SEQUENTIAL_H
#define LLMOPT_LIB_CODEGEN_LOOPS_SEQUENTIAL_H

#include "Emitter.h"

namespace llmopt::loops {

/// Tiles that the procedure of `op` can be split into.
SymExpr getSequentialTiles(mlir::Operation *op);

class SequentialEmitter {
public:
  /// `arg` is the buffer of the result.
  SequentialEmitter(Emitter &emitter, int64_t arg) : e(emitter), b(emitter.b), arg(arg) {}
  void emit(mlir::Operation *op, S tile);

private:
  void emitScatterElements(lm::ScatterElementsOp op);
  void emitScatterND(lm::ScatterNDOp op);
  void emitArgSort(lm::ArgSortOp op, S tile);
  void emitTrueIndices(lm::TrueIndicesOp op);
  void emitSuppression(lm::NonMaxSuppressionOp op, S tile);
  void emitLinearAttention(lm::LinearAttentionOp op, S tile);

  Buffer resultBuffer(mlir::Operation *op);
  /// Of memory that this kernel writes.
  S loadWritten(Buffer buffer, S offset);
  S loadWritten(Buffer buffer, const Index &index);
  void store(const Buffer &buffer, S offset, S value);
  void store(const Buffer &buffer, const Index &index, S value);
  /// An index about which only the range is known.
  Index indexOf(S value, const SymExpr &extent);
  /// One after the other.
  void forEach(S lo, S hi, const SymExpr &extent, llvm::function_ref<void(const Index &)> body);
  void forEach(const SymExpr &extent, llvm::function_ref<void(const Index &)> body);
  /// All indices below `dims`; by lanes where `lanes` allows it.
  void forAll(ArrayRef<SymExpr> dims, bool lanes, llvm::function_ref<void(ArrayRef<Index>)> body);
  /// Indices below `dims` of a row-major number.
  SmallVector<Index> indicesOf(S number, ArrayRef<SymExpr> dims);
  S combine(lm::ScatterKind kind, S old, S update);

  struct Order {
    Buffer buffer;
    S base; // where the indices begin
  };
  /// 0 .. size-1 sorted, stably; `isBefore` compares two of them.
  Order sort(const SymExpr &size, llvm::function_ref<S(S, S)> isBefore);
  /// Whether x comes strictly before y; NaN is larger than every number.
  S isBefore(S x, S y, bool descending);

  Emitter &e;
  ScalarBuilder &b;
  int64_t arg;
};

} // namespace llmopt::loops

#endif
