// The walk over a product of int8 rows, whatever the weights are: which rows and
// columns a tile has, column panels one after the other, and what becomes of finished
// sums. How a panel is multiplied is up to the classes that derive. Private to this
// library.
#ifndef LLMOPT_LIB_CODEGEN_CPU_INTEGERTILES_H
#define LLMOPT_LIB_CODEGEN_CPU_INTEGERTILES_H

#include "llmopt/CodeGen/CPU/IntegerGemm.h"

namespace llmopt::cpu {

inline int64_t roundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// Rows up to which a product only streams weights: what it needs of them is fetched
/// ahead, in their order.
constexpr int64_t fewRows = 3;
/// Bytes from where a product of few rows reads weights to where it fetches them.
constexpr int64_t prefetchDistance = 2048;

/// Bytes between rows of A in scratch memory that have `bytes` each: rows of a tile must
/// not compete for one cache set.
inline int64_t scratchStride(int64_t bytes) {
  int64_t stride = roundUp(bytes, 64) + 64;
  return stride % 4096 ? stride : stride + 64;
}

/// Rows and columns of the register tile, and of a tile.
struct IntegerTiling {
  int64_t nr, vectors, mr;
  int64_t mBlock, nBlock;

  /// `bytesPerRow` of A; the rows of a tile take up to `cacheBytes` of the L2 cache,
  /// which they share with a panel of B.
  IntegerTiling(const IntegerGemmSpec &spec, int64_t nr, int64_t vectors, int64_t mr, int64_t bytesPerRow,
                int64_t cacheBytes = int64_t(256) << 10);
  SizeFormula getTiles(const IntegerGemmSpec &spec) const;
};

class IntegerTiles {
public:
  virtual ~IntegerTiles() = default;
  /// The functions that tiles call. Before a kernel is begun.
  virtual void declareFunctions() = 0;
  /// Tile kb.tile: (n block, m block), the m block fastest. `otherwise` is for rows that
  /// prepareRows does not take.
  void emitTile(llvm::function_ref<void()> otherwise = {});

protected:
  IntegerTiles(KernelBuilder &kb, const IntegerGemmSpec &shape, const IntegerTiling &tiling, int64_t sumsOffset)
      : kb(kb), shape(shape), tiling(tiling), sumsOffset(sumsOffset), lanes(kb.lanes()) {}

  /// Once per tile: what panels need of its rows. Gives a condition, or nothing where
  /// all rows will do.
  virtual V prepareRows() = 0;
  /// The sums of all rows with columns [column, column + NR), and then, for the rows
  /// that have them, finishRows.
  virtual void multiplyPanel(V column) = 0;
  /// What finishing a sum takes, of a vector of columns (those of `mask`, if any) and of
  /// a row of the product (may be nothing).
  virtual Values loadColumns(V position, V mask) = 0;
  virtual V loadRow(V row) = 0;
  /// The vector of sums at `from`, scaled.
  virtual V scaleSums(V from, V row, llvm::ArrayRef<V> columns) = 0;

  /// Bias, activation and residual for rows [first, end) of the tile.
  void finishRows(V column, V first, V end);
  /// Rows of A into scratch memory, `stride` bytes apart, each element as `convert` makes
  /// it, of `bytes` bytes.
  void copyRows(int64_t stride, int64_t bytes, llvm::function_ref<V(V)> convert);

  V sums() { return kb.at(kb.scratch, sumsOffset, kb.i8()); }
  mlir::Type i16() { return kb.builder.getI16Type(); }
  mlir::Type vector(int64_t count, mlir::Type element) { return mlir::VectorType::get({count}, element); }
  V reshape(V value, mlir::Type type);
  V intrinsic(const char *name, mlir::Type type, llvm::ArrayRef<V> operands);
  /// sum + the products of unsigned and signed bytes, four per lane.
  V dotProduct(V sum, V unsignedBytes, V signedBytes) {
    return intrinsic("llvm.x86.avx512.vpdpbusd.512", sum.type(), {sum, unsignedBytes, signedBytes});
  }
  V base(const Operand &operand, mlir::Type element) {
    return kb.at(kb.arg(operand.arg), kb.size(operand.offset), element);
  }
  V bytes(V pointer, V offset) { return kb.at(pointer, offset, kb.i8()); }
  V bytes(V pointer, int64_t offset) { return kb.at(pointer, offset, kb.i8()); }

  KernelBuilder &kb;
  const IntegerGemmSpec &shape;
  const IntegerTiling tiling;
  const int64_t sumsOffset; // bytes into scratch memory: [mBlock][NR] of 4 bytes
  const int64_t lanes;
  V m0, rows; // of the tile

private:
  void finishRows(V column, V first, V end, bool partial);
};

} // namespace llmopt::cpu
#endif
