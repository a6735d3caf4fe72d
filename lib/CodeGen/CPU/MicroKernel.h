// The fp32 register-tile kernel shared by matrix multiplication and attention,
// and the moves that feed it. Private to this library.
//
// It multiplies `rows` rows of A, at a fixed row stride so that all of them are
// addressed from one register, with one panel of B: C[r][0..NR) = sum over k of
// A[r][k] * B[k][0..NR), k ascending, optionally added to what C holds.
#ifndef LLMOPT_LIB_CODEGEN_CPU_MICROKERNEL_H
#define LLMOPT_LIB_CODEGEN_CPU_MICROKERNEL_H

#include "llmopt/CodeGen/CPU/KernelBuilder.h"

namespace llmopt::cpu {

/// Elements between rows of a block of A in scratch memory. Not a multiple of
/// 4096 bytes, so that the rows of a tile do not compete for one cache set.
inline int64_t rowStride(const TargetInfo &t) { return t.gemmKC + 16; }

struct MicroArgs {
  V a;          // row stride rowStride()
  V b, ldb;     // NR columns per step, `ldb` elements apart
  V c, ldc;     // NR columns per row
  V k;          // steps, <= gemmKC
  V accumulate; // i1
  /// What will be read next, brought into the L2 cache meanwhile: `next`
  /// onwards, spread over all row panels. Any address is safe; absent: nothing.
  V next;
};

/// Emits (once per module) the kernels for 1 .. MR rows. Must be called before
/// a kernel that uses them is begun.
void declareMicroKernels(KernelBuilder &kb);

/// Multiplies rows [0, rows) in balanced row panels of at most MR rows, and
/// after each panel calls `done(firstRow, endRow)`. `args` are those of row 0.
void emitRowPanels(KernelBuilder &kb, const MicroArgs &args, V rows,
                   llvm::function_ref<void(V, V)> done = {});

/// dst[r][c] = src[r][c], c < cols.
void emitCopyRows(KernelBuilder &kb, V dst, int64_t dstStride, V src,
                  V srcStride, V rows, V cols);
/// dst[c][r] = src[r][c] for r < rows, c < cols.
void emitTranspose(KernelBuilder &kb, V dst, int64_t dstStride, V src,
                   V srcStride, V rows, V cols);

} // namespace llmopt::cpu
#endif
