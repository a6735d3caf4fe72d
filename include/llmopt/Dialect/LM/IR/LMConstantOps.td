// Constants and weights.
#ifndef LLMOPT_LM_CONSTANT_OPS
#define LLMOPT_LM_CONSTANT_OPS

include "llmopt/Dialect/LM/IR/LMAttributes.td"

def LM_ConstantOp : LM_Op<"constant", [ConstantLike, AllTypesMatch<["value", "result"]>]> {
  let summary = "a small constant, or the value of a shape computation";
  let description = [{
    `value` is a dense elements attribute or `#lm.sym`; the result has its type.
    Scalars, integer tensors and results of folding are constants; floating-point
    initializers of rank >= 1 are `lm.weight`.

    - (C1) `value` has the type of the result.
  }];
  let arguments = (ins TypedAttrInterface:$value);
  let results = (outs LM_RankedTensor:$result);
  let assemblyFormat = "attr-dict $value";
  let hasFolder = 1;
}

def LM_WeightOp : LM_Op<"weight"> {
  let summary = "a weight of the model, under its ONNX name";
  let description = [{
    `source` is a dense elements attribute or `#lm.file`, or, for a weight that
    training adds, `#lm.drawn`. Weights keep ONNX names, shapes and order; what is
    derived from them is written with ordinary operations on weights and becomes a
    recipe (docs/decisions).

    - (C1) the result type is static.
    - (C2) an elements `source` has the result type; a file has as many bytes as
      the result type needs; drawn elements are f32.
  }];
  let arguments = (ins StrAttr:$name, AnyAttr:$source);
  let results = (outs LM_RankedTensor:$result);
  let assemblyFormat = "$name `from` `(` $source `)` attr-dict `:` type($result)";
  let hasVerifier = 1;
}

#endif
