// A B that stays int4 or int8 in memory (GemmSpec::quantizedB): panels of it as f32,
// and products with a few rows. Private to this library.
#ifndef LLMOPT_LIB_CODEGEN_CPU_QUANTIZEDB_H
#define LLMOPT_LIB_CODEGEN_CPU_QUANTIZEDB_H

#include "llmopt/CodeGen/CPU/Gemm.h"

namespace llmopt::cpu {

/// Rows up to which B is not dequantized into memory.
constexpr int64_t quantizedGemvRows = 3;

/// Columns [column, column + NR), steps [k0, k0 + steps) of B as f32 [steps][NR].
void emitDequantizedPanel(KernelBuilder &kb, const GemmSpec &spec, V column, V k0, V steps, V panel);

/// Elements of scratch memory that the functions below need.
int64_t quantizedGemvScratch(const GemmSpec &spec, const TargetInfo &target);
/// Emits (once per form) the products of 1 .. 3 rows with one panel. Before a kernel
/// is begun.
void declareQuantizedGemv(KernelBuilder &kb, const GemmSpec &spec);
/// Brings `rows` rows of A into the form the products read. False where that form
/// would not give what B's own values give: an element is not finite, or huge.
V emitQuantizedGemvInput(KernelBuilder &kb, const GemmSpec &spec, V a, V rows);
/// The products with columns [column, column + NR): [rows][NR] in scratch memory.
V emitQuantizedGemvPanel(KernelBuilder &kb, const GemmSpec &spec, V a, V column, V rows);

} // namespace llmopt::cpu
#endif
