// Products with int4 weights, quantized in groups of G along K, by int8 rows.
//
// C[m][n] = act(sum_g (sx[m][g] sw[g][n]) sum_{k in g} q[m][k] (u[k][n] - z[g][n]) + bias) + residual.
// Within a group sums are int32 and exact on every ISA; sx[m][g] is rounded to 22 bits,
// and the product of both to f32. Groups are added in their order, one fused
// multiply-add each: bits do not depend on M, tile or thread, and differ only between
// levels with and without FMA. With one scale per row, sx[m] multiplies the finished sum.
//
// The weight is what kernel.pack_groups describes: panels of TargetInfo::gemmNR()
// columns; per panel and group one block of scales, zero points and nibbles. A dword
// holds 8 steps of K of one column, so that `and` and one shift give two operands of
// the byte multiply instructions:
//
//   VNNI    vpdpbusd. For up to three rows of nibbles (unsigned) and activations, from
//           -offset times the row sum of the group onwards; for more of activations
//           + 128 and of u - z, which are made once for all rows of a tile, from
//           -128 times the column sum of the group onwards
//   AVX2, AVX-512BW  vpmaddubsw; 32 products of K are summed in int16, where
//           |sum| <= 16 * 15 * 128 = 30720, and then widened
//   others  int16 products, summed likewise
#ifndef LLMOPT_CODEGEN_CPU_INT4_H
#define LLMOPT_CODEGEN_CPU_INT4_H

#include "llmopt/CodeGen/CPU/IntegerGemm.h"

namespace llmopt::cpu {

/// The scale of rows is [M, K/G], or [M].
struct GemmInt4Spec : IntegerGemmSpec {
  int64_t group = 0;         // G: a multiple of 32 that divides K
  int64_t offset = 8;        // z without zero points
  bool zeroPoints = false;   // the weight holds them
  bool scalePerGroup = true; // of the rows; else one per row
};
/// Tile (n block, m block), the m block fastest.
SizeFormula gemmInt4Tiles(const GemmInt4Spec &spec, const TargetInfo &target);
/// Bytes; a constant.
SizeFormula gemmInt4Scratch(const GemmInt4Spec &spec, const TargetInfo &target);
void emitGemmInt4(KernelBuilder &kb, const GemmInt4Spec &spec);

/// Of a panel: scales, zero points and nibbles of one group.
inline int64_t int4BlockBytes(int64_t nr, int64_t group, bool zeroPoints) {
  return nr * (group / 2 + (zeroPoints ? 8 : 4));
}

} // namespace llmopt::cpu
#endif
