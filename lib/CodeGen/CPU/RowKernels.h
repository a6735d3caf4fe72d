// Kernels that exist once per number of rows, and the rows of a tile that are shared
// out among them. Private to this library.
#ifndef LLMOPT_LIB_CODEGEN_CPU_ROWKERNELS_H
#define LLMOPT_LIB_CODEGEN_CPU_ROWKERNELS_H

#include "llmopt/CodeGen/CPU/KernelBuilder.h"

namespace llmopt::cpu {

/// Declares (once per module) functions `name`1 .. `name`MR(arguments), whose bodies
/// `emit(rows, arguments)` writes, and `name`(arguments..., rows), a jump to one of
/// them. Before a kernel is begun.
void declareRowKernels(KernelBuilder &kb, const std::string &name, llvm::ArrayRef<mlir::Type> arguments, int64_t mr,
                       llvm::function_ref<void(int64_t, llvm::ArrayRef<V>)> emit);

/// body(first, end, panel, panels) for rows [0, rows) in panels of at most `mr` rows,
/// balanced: 128 rows are 8 x 13 + 2 x 12, not 9 x 14 + 2.
void forRowPanels(KernelBuilder &kb, V rows, int64_t mr, llvm::function_ref<void(V, V, V, V)> body);

} // namespace llmopt::cpu
#endif
