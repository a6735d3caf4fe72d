// Sizes that depend on data.
#ifndef LLMOPT_KERNEL_SYMBOL_OPS
#define LLMOPT_KERNEL_SYMBOL_OPS

include "llmopt/Dialect/Kernel/IR/KernelBase.td"

// Not Pure: whatever has the symbol in its type or attributes depends on it.
def Kernel_DefineSymbolOp : Op<Kernel_Dialect, "define_symbol", [MemoryEffects<[MemWrite]>]> {
  let summary = "a number that kernels computed becomes a symbol of sizes";
  let description = [{
    As `lm.define_symbol`. No step: the runtime reads the number between two steps
    (`llmopt_data_symbol`).

    - (C1) `value` is i64 of one element.
    - (C2) `bound` has one entry.
  }];
  let arguments = (ins LM_IntTensor:$value, StrAttr:$symbol, LM_SymValuesAttr:$bound);
  let assemblyFormat = "$symbol `=` $value attr-dict `:` type($value)";
  let hasVerifier = 1;
}

#endif
