// Loops over the elements of one row, and the split of rows into tiles. Private
// to this library.
#ifndef LLMOPT_LIB_CODEGEN_CPU_ROWLOOPS_H
#define LLMOPT_LIB_CODEGEN_CPU_ROWLOOPS_H

#include "llmopt/CodeGen/CPU/KernelBuilder.h"
#include "llmopt/CodeGen/CPU/Operand.h"

namespace llmopt::cpu {

constexpr int64_t rowPartialSums = 4;

/// Rows per tile if the spec does not say: about 64 KB of them.
int64_t defaultRowBlock(Size width);
SizeFormula rowTiles(Size rows, int64_t rowBlock);

struct RowRange {
  V first, end;
};
/// Balanced: no tile has more than rowBlock rows, and sizes differ by one at
/// most.
RowRange tileRows(KernelBuilder &kb, Size rows, int64_t rowBlock);

/// Calls body(offset, mask) for every vector of a row; the mask is absent where
/// the vector is known to be full.
void forRow(KernelBuilder &kb, Size width,
            llvm::function_ref<void(V offset, V mask)> body);
void forRow(KernelBuilder &kb, V width,
            llvm::function_ref<void(V offset, V mask)> body);

/// Folds a row into partial results: vector i goes into partial i % 4.
/// step(partial, offset, mask) must leave masked-off lanes of the partial
/// alone.
using RowStep = llvm::function_ref<V(V partial, V offset, V mask)>;
Values foldRow(KernelBuilder &kb, Size width, Values partials, RowStep step);
Values foldRow(KernelBuilder &kb, V width, Values partials, RowStep step);

V sumPartials(KernelBuilder &kb, llvm::ArrayRef<V> partials);
V maxPartials(KernelBuilder &kb, llvm::ArrayRef<V> partials);

/// Layer or RMS normalisation of one row.
struct NormRow {
  int64_t width;
  bool rms;
  double epsilon;
  Operand scale, bias;
};
/// `load(offset, mask)` gives the row's values, once; if `kept` is given they
/// are stored there and read back, else `load` is called again.
void emitNormRow(KernelBuilder &kb, const NormRow &norm,
                 llvm::function_ref<V(V, V)> load, V kept, V out);

/// q and scales of `rows` consecutive rows of `width` elements each, of x: see
/// QuantizeRowsSpec.
void emitQuantizeRows(KernelBuilder &kb, int64_t width, V x, V q, V scales, V rows);

/// One scale, zero point (or none) and limits of quotients for a whole tensor, loaded
/// once.
struct TensorScale {
  V scale, zero, lowest, highest;
};
TensorScale loadTensorScale(KernelBuilder &kb, const Operand &scale, const Operand &zeroPoint, bool narrow);
/// q from `width` elements of x: see QuantizeTensorSpec.
void emitQuantizeRow(KernelBuilder &kb, int64_t width, V x, V q, const TensorScale &scale);

} // namespace llmopt::cpu
#endif
