// The kernel dialect and what its operations share.
#ifndef LLMOPT_KERNEL_BASE
#define LLMOPT_KERNEL_BASE

include "llmopt/Dialect/Kernel/IR/KernelEnums.td"
include "llmopt/Dialect/LM/IR/LMAttributes.td"

def Kernel_Dialect : Dialect {
  let name = "kernel";
  let cppNamespace = "::llmopt::kernel";
  let summary = "The kernel plan (L2): one operation per step of the compiled model";
  let description = [{
    Values are the tensors of the lm dialect, dense and row major, so that SSA uses
    are the live ranges from which the memory plan is made. Each operation but
    `kernel.view` and `kernel.pack` becomes one step: a view moves no bytes, a pack
    is done when the weights file is written. Operations of the lm dialect occur
    in the region of `kernel.loops`, and outside of it only as expressions over
    `lm.weight` and `lm.constant`, which are recipes.
  }];
  let useDefaultAttributePrinterParser = 1;
  let dependentDialects = ["::llmopt::lm::LMDialect"];
}

class Kernel_EnumAttr<I32EnumAttr e, string enumMnemonic>
    : EnumAttr<Kernel_Dialect, e, enumMnemonic> {
  let assemblyFormat = "`<` $value `>`";
}

def Kernel_ActivationAttr : Kernel_EnumAttr<Kernel_Activation, "activation">;
def Kernel_LayoutAttr : Kernel_EnumAttr<Kernel_Layout, "layout">;

class Kernel_Op<string mnemonic, list<Trait> traits = []>
    : Op<Kernel_Dialect, mnemonic, !listconcat([Pure], traits)>;

#endif
