// fp32 matrix multiplication: C = act(alpha * A B + bias) + residual.
//
// One generator for three uses: constant B packed ahead (linear layers),
// activations on both sides (batched matmul), and transposed operands
// (gradients). A and C have unit column stride and any row stride.
//
// Sums: every output is one chain of fused multiply-adds over k = 0 .. K-1, in
// that order, whatever M, the tile or the thread: bits do not depend on them.
// (Levels without FMA round the product.)
//
// Packed B, "panels": [ceil(N/NR)][K][NR] f32, NR = TargetInfo::gemmNR(),
// columns beyond N are zero. `Packing.h` writes it.
#ifndef LLMOPT_CODEGEN_CPU_GEMM_H
#define LLMOPT_CODEGEN_CPU_GEMM_H

#include "llmopt/CodeGen/CPU/KernelBuilder.h"
#include "llmopt/CodeGen/CPU/Operand.h"

#include <optional>

namespace llmopt::cpu {

/// A packed B that stays integer: int4 with its scales, as kernel.pack_groups writes
/// it, or int8 [ceil(N/NR)][K][NR] with one scale per column.
///
/// For up to three rows its elements go straight into multiply-adds: a few chains of
/// sums per output, scaled per group or at the end. For more rows, and where an
/// activation is not finite or beyond 1e30, panels are dequantized, each element
/// rounded to f32 as lm.dequantize does, and multiplied as any other B.
struct QuantizedB {
  int64_t group = 0;       // 0: int8
  int64_t offset = 0;      // what is subtracted from nibbles without zero points
  bool zeroPoints = false; // the weight holds them
  Operand columnScale;     // [N] f32, of int8
};

struct GemmSpec {
  std::string name; // symbol of the kernel

  Size m, n, k;
  /// One batch dimension, outermost first; a stride of 0 broadcasts.
  struct Batch {
    Size count;
    Size strideA, strideB, strideC, strideResidual;
  };
  std::vector<Batch> batch;

  Operand a;        // [M, K], or [K, M] with transA
  Operand b;        // packed panels; else [K, N], or [N, K] with transB
  Operand c;        // [M, N]
  Operand bias;     // [N]
  Operand residual; // [M, N], added after the activation; may be C itself
  Size lda, ldb, ldc, ldResidual; // row strides in elements

  std::optional<QuantizedB> quantizedB; // with packedB; alpha is 1
  bool packedB = true; // then n and k are constants, and ldb is unused
  bool transA = false;
  bool transB = false; // only without packedB
  double alpha = 1.0;
  Activation activation = Activation::None;

  /// Rows and columns of one tile; 0 takes the target's default.
  int64_t mBlock = 0;
  int64_t nBlock = 0;
};

/// Tile (batch, n block, m block), the m block fastest.
/// tiles = prod(batch counts) * ceildiv(N, nBlock) * ceildiv(M, mBlock).
SizeFormula gemmTiles(const GemmSpec &spec, const TargetInfo &target);
/// Bytes; a constant unless K is dynamic and N is blocked.
SizeFormula gemmScratch(const GemmSpec &spec, const TargetInfo &target);
/// Emits the kernel `spec.name` into the builder's module.
void emitGemm(KernelBuilder &kb, const GemmSpec &spec);

/// Applies an activation to an f32 scalar or vector.
V emitActivation(KernelBuilder &kb, Activation activation, V x);

} // namespace llmopt::cpu
#endif
