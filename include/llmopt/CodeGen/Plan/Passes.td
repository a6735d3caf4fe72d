// Passes that make the kernel plan.
#ifndef LLMOPT_CODEGEN_PLAN_PASSES
#define LLMOPT_CODEGEN_PLAN_PASSES

include "mlir/Pass/PassBase.td"

def PlanPass : Pass<"lm-plan", "::mlir::ModuleOp"> {
  let summary = "partition the lm dialect into kernels (L1 -> L2)";
  let description = [{
    Every operation becomes part of one kernel: products with constant weights
    and what follows them `kernel.gemm`, or `kernel.gemm_s8` and `kernel.gemm_w4a8`
    where both sides are quantized, `kernel.gemm_wq` where only the weight is,
    attention, norms, embeddings and softmax their own kernels, the rest fused into `kernel.loops`. Expressions over
    weights stay as recipes. The driver runs the same with the compiler's target;
    this pass plans for a CPU with the given panel width.
  }];
  let dependentDialects = ["::llmopt::lm::LMDialect", "::llmopt::kernel::KernelDialect"];
  let options = [Option<"panelWidth", "panel-width", "int64_t", /*default=*/"16",
                        "columns of a panel of a packed weight">,
                 Option<"int8", "int8", "std::string", /*default=*/"\"panels\"",
                        "layout of int8 weights: panels, pairs, quads, rows; none for a target without int8 products">,
                 Option<"quantizedWeights", "quantized-weights", "bool", /*default=*/"false",
                        "the target multiplies int4 weights, and int8 ones by floats, and quantizes in norms">,
                 Option<"quantizedRows", "quantized-rows", "bool", /*default=*/"false",
                        "such weights, and int8 ones, lie in rows, as a GPU reads them">];
}

#endif
