// Steps that run other functions of the plan: a branch and a repetition.
//
// The regions of lm.if and lm.loop become private functions, so that the
// partition meets functions of one block only; the tables put their steps back
// in line.
#ifndef LLMOPT_KERNEL_CONTROL_OPS
#define LLMOPT_KERNEL_CONTROL_OPS

include "llmopt/Dialect/Kernel/IR/KernelBase.td"

def Kernel_BranchOp : Kernel_Op<"branch"> {
  let summary = "the steps of one of two functions";
  let description = [{
    Both functions take `captures` and return the results; a dimension that differs
    between them is unknown.

    - (C1) `condition` has one element.
  }];
  let arguments = (ins LM_BoolTensor:$condition, Variadic<LM_RankedTensor>:$captures,
                       FlatSymbolRefAttr:$then_function, FlatSymbolRefAttr:$else_function);
  let results = (outs Variadic<LM_RankedTensor>:$results);
  let assemblyFormat = [{
    $condition `then` $then_function `else` $else_function `(` $captures `)` attr-dict
    `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Kernel_RepeatOp : Kernel_Op<"repeat", [AttrSizedOperandSegments]> {
  let summary = "the steps of a function, again and again";
  let description = [{
    As `lm.loop`. The function takes the number of the iteration, the states and
    `captures`; it returns, with `conditional`, whether to go on, then the next
    states and the rows. A result keeps its state in one place throughout.

    - (C1) `trip_count` and `condition`, where present, have one element.
    - (C2) `reverse_rows` has one entry per scan output.
  }];
  let arguments = (ins Optional<LM_IntTensor>:$trip_count, Optional<LM_BoolTensor>:$condition,
                       Variadic<LM_RankedTensor>:$inits, Variadic<LM_RankedTensor>:$captures,
                       FlatSymbolRefAttr:$body, BoolAttr:$conditional, DenseBoolArrayAttr:$reverse_rows);
  let results = (outs Variadic<LM_RankedTensor>:$results);
  let assemblyFormat = [{
    $body (`trip` $trip_count^)? (`while` $condition^)? `init` `(` $inits `)` `(` $captures `)` attr-dict
    `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

#endif
