// Enums of the kernel dialect. A file of their own: enum generators print every
// enum they see, those of included dialects too.
#ifndef LLMOPT_KERNEL_ENUMS
#define LLMOPT_KERNEL_ENUMS

include "mlir/IR/EnumAttr.td"

class Kernel_Enum<string name, string description, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, description, cases> {
  let cppNamespace = "::llmopt::kernel";
  let genSpecializedAttr = 0;
}
def Kernel_Activation : Kernel_Enum<"Activation", "what a kernel applies to a finished sum", [
  I32EnumAttrCase<"None", 0, "none">, I32EnumAttrCase<"Relu", 1, "relu">,
  I32EnumAttrCase<"GeluErf", 2, "gelu_erf">, I32EnumAttrCase<"GeluTanh", 3, "gelu_tanh">,
  I32EnumAttrCase<"GeluQuick", 4, "gelu_quick">, I32EnumAttrCase<"Tanh", 5, "tanh">,
  I32EnumAttrCase<"Sigmoid", 6, "sigmoid">, I32EnumAttrCase<"Silu", 7, "silu">]>;

def Kernel_Layout : Kernel_Enum<"Layout", "how a packed weight lies in memory", [
  I32EnumAttrCase<"Panels", 0, "panels">, I32EnumAttrCase<"Pairs", 1, "pairs">,
  I32EnumAttrCase<"Quads", 2, "quads">, I32EnumAttrCase<"Rows", 3, "rows">]>;

#endif
