// Kernels that work on whole rows: normalisation, softmax, embedding lookup.
//
// A tile is a block of rows. Sums over a row go into four vectors of partial
// sums (element i into vector i / lanes % 4), which are added pairwise at the
// end: bits depend on the vector length of the target, not on tiles or threads.
// None of these kernels needs scratch memory.
#ifndef LLMOPT_CODEGEN_CPU_ROWS_H
#define LLMOPT_CODEGEN_CPU_ROWS_H

#include "llmopt/CodeGen/CPU/KernelBuilder.h"
#include "llmopt/CodeGen/CPU/Operand.h"

namespace llmopt::cpu {

/// y = norm(x + residual + inputBias) * scale + bias over `width` elements.
/// LayerNorm: (s - mean) / sqrt(var + epsilon), the variance from the centred
/// values; RMSNorm: s / sqrt(mean(s^2) + epsilon).
struct NormSpec {
  std::string name;
  Size rows;
  int64_t width = 0;
  bool rms = false;
  double epsilon = 1e-5;

  Operand x;         // [rows, width]
  Operand residual;  // [rows, width], optional
  Operand inputBias; // [width], optional
  Operand scale;     // [width], optional
  Operand bias;      // [width], optional
  Operand sum; // [rows, width], optional: receives x + residual + inputBias
  Operand out; // [rows, width]; may be x or residual itself
  Size ldx = 0, ldResidual = 0, ldSum = 0, ldOut = 0; // row strides; 0: width
  Operand quantized;      // [rows, width] int8, optional: `out` as QuantizeRowsSpec says,
  Operand quantizedScale; // [rows, quantizedGroups] f32: in equal parts of rows
  int64_t quantizedGroups = 1;
  Operand tensorScale;     // one f32, instead of quantizedScale: `quantized` as
  Operand tensorZeroPoint; // QuantizeTensorSpec says, with one int8, optional
  bool narrow = false;

  int64_t rowBlock = 0; // rows per tile; 0 takes the default
};
SizeFormula normTiles(const NormSpec &spec);
void emitNorm(KernelBuilder &kb, const NormSpec &spec);

/// Softmax (or its logarithm) of scale * x over rows of dynamic width. A row of
/// -inf gives NaN.
struct SoftmaxSpec {
  std::string name;
  Size rows, width;
  Operand x, out;          // may be the same
  Size ldx = 0, ldOut = 0; // row strides; 0: width
  double scale = 1.0;
  bool logarithm = false;
  int64_t rowBlock = 0;
};
SizeFormula softmaxTiles(const SoftmaxSpec &spec);
void emitSoftmax(KernelBuilder &kb, const SoftmaxSpec &spec);

/// out[r] = norm(sum over tables of table[id(r)]), r < rows.
///
/// Ids follow ONNX Gather: -n .. -1 count from the end. Any other id is clamped
/// into the table, so nothing outside is read, and `*flag` (an int32, if given)
/// is set to 1; the kernel never clears it.
struct EmbeddingSpec {
  std::string name;
  Size rows;
  int64_t width = 0;

  struct Table {
    Operand table; // [tableRows, width]
    Size tableRows;
    Operand
        ids; // of row r: ids[r], or ids[r % period]; absent: r % period + first
    bool ids64 = true; // int64, else int32
    Size period = 0;   // 0: none
    Size first = 0;
  };
  std::vector<Table> tables;

  enum class Norm { None, Layer, Rms };
  Norm norm = Norm::None;
  double epsilon = 1e-12;
  Operand scale, bias; // [width], optional
  Operand sum;         // [rows, width], optional: receives the sum
  Operand out;         // [rows, width]
  Operand flag;        // optional

  int64_t rowBlock = 0;
};
SizeFormula embeddingTiles(const EmbeddingSpec &spec);
void emitEmbedding(KernelBuilder &kb, const EmbeddingSpec &spec);

} // namespace llmopt::cpu
#endif
