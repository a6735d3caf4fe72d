// Products of int8 with exact integer sums, and what quantizes their rows.
//
// C = act(sum_k(q[m][k] w[k][n]) * (rowScale[m] * columnScale[n]) + bias) + residual.
// With a zero point z, it is taken off every q: z * columnSums[n] off the sum, exactly.
// The sum is int32 and exact on every ISA (K <= 131071), so bits differ between
// ISAs only by the rounding of the float epilogue.
//
// Packed weights come in panels of gemmInt8NR() columns, zero beyond N and K:
//
//   pairs  [ceil(N/NR)][ceil(K/2)][NR][2]: bytes are widened to int16, and two
//          steps of K are multiplied and added at once (vpmaddwd).
//   quads  [ceil(N/NR)][1 + ceil(K/4)][NR][4], for vpdpbusd, which multiplies
//          unsigned by signed bytes: the kernel adds 128 to every q, and begins
//          its sums with the panel's first entry, [NR] int32 of
//          -128 sum_k(w[k][n]).
//
// Sums that leave int32 on the way (the shifted ones may) wrap and come back.
#ifndef LLMOPT_CODEGEN_CPU_INT8_H
#define LLMOPT_CODEGEN_CPU_INT8_H

#include "llmopt/CodeGen/CPU/IntegerGemm.h"

namespace llmopt::cpu {

enum class Int8Layout { Pairs, Quads };

/// Quads where the target has AVX-512 VNNI.
Int8Layout gemmInt8Layout(const TargetInfo &target);
/// Columns of a panel.
int64_t gemmInt8NR(const TargetInfo &target);

/// The scale of rows is [M], or one for all rows.
struct GemmInt8Spec : IntegerGemmSpec {
  bool oneScale = false;
  Operand zeroPoint;   // one int8, optional
  Operand columnSums;  // [N] int32 of sum_k(w[k][n]), beside zeroPoint
  Operand columnScale; // [N] f32
};
/// Tile (n block, m block), the m block fastest.
SizeFormula gemmInt8Tiles(const GemmInt8Spec &spec, const TargetInfo &target);
/// Bytes; a constant.
SizeFormula gemmInt8Scratch(const GemmInt8Spec &spec, const TargetInfo &target);
void emitGemmInt8(KernelBuilder &kb, const GemmInt8Spec &spec);

/// scale[r] = max |x[r]| / 127, 1 for a row of zeros, NaN for a row that holds a
/// NaN or an infinity; q = round half to even of x / scale, in [-127, 127]. The
/// same bits on every ISA, for any number of tiles.
struct QuantizeRowsSpec {
  std::string name;
  Size rows;
  int64_t width = 0;
  Operand x;     // [rows, width] f32
  Operand q;     // [rows, width] int8
  Operand scale; // [rows] f32
  int64_t rowBlock = 0;
};
SizeFormula quantizeRowsTiles(const QuantizeRowsSpec &spec);
void emitQuantizeRows(KernelBuilder &kb, const QuantizeRowsSpec &spec);

/// q = saturate(round half to even of x / scale, + zeroPoint), from -128 on, or from
/// -127 if narrow; NaN gives the smallest.
struct QuantizeTensorSpec {
  std::string name;
  Size rows;
  int64_t width = 0;
  Operand x;         // [rows, width] f32
  Operand scale;     // one f32
  Operand zeroPoint; // one int8, optional
  Operand q;         // [rows, width] int8
  bool narrow = false;
};
SizeFormula quantizeTensorTiles(const QuantizeTensorSpec &spec);
void emitQuantizeTensor(KernelBuilder &kb, const QuantizeTensorSpec &spec);

} // namespace llmopt::cpu
#endif
