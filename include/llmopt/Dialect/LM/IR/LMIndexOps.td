// Scatters, sorting, and sizes that depend on data.
#ifndef LLMOPT_LM_INDEX_OPS
#define LLMOPT_LM_INDEX_OPS

include "llmopt/Dialect/LM/IR/LMAttributes.td"

// Elements of the result follow from each other: loops write it in one order, as
// a procedure (CodeGen/Loops), instead of each element for itself.
def LM_Sequential : NativeOpTrait<"Sequential"> { let cppNamespace = "::llmopt::lm"; }

def LM_ScatterKind : LM_Enum<"ScatterKind", "what a scatter makes of the element it meets", [
  I32EnumAttrCase<"None", 0, "none">, I32EnumAttrCase<"Add", 1, "add">, I32EnumAttrCase<"Mul", 2, "mul">,
  I32EnumAttrCase<"Max", 3, "max">, I32EnumAttrCase<"Min", 4, "min">]>;
def LM_ScatterKindAttr : LM_EnumAttr<LM_ScatterKind, "scatter_kind">;

def LM_ScatterElementsOp : LM_InferredOp<"scatter_elements", [LM_Sequential]> {
  let summary = "input with result[indices[i][j].. at axis] combined with updates[i][j]..";
  let description = [{
    Updates are taken in row-major order, so that the last one of several for an
    element stays with `none`. Booleans add and max as or, mul and min as and. An
    index in [-n, -1] counts from the end.

    - (C1) `axis` is in [0, rank), and all operands have the same rank.
    - (C2) `updates` have the shape of `indices` and the element type of `input`.
  }];
  let arguments = (ins LM_ScatterKindAttr:$kind, LM_RankedTensor:$input, LM_IntTensor:$indices,
                       LM_RankedTensor:$updates, I64Attr:$axis);
  let results = (outs LM_RankedTensor:$result);
  let assemblyFormat = "$kind operands attr-dict `:` functional-type(operands, results)";
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_ScatterNDOp : LM_InferredOp<"scatter_nd", [LM_Sequential]> {
  let summary = "input with elements or slices at index tuples combined with updates";
  let description = [{
    The last dimension of `indices` is an index tuple (ONNX ScatterND); otherwise
    as `lm.scatter_elements`.

    - (C1) the last dimension of `indices` is static, and at most the rank of `input`.
    - (C2) `updates` have the shape indices.shape[:-1] + input.shape[tuple:] and
      the element type of `input`.
  }];
  let arguments = (ins LM_ScatterKindAttr:$kind, LM_RankedTensor:$input, LM_IntTensor:$indices,
                       LM_RankedTensor:$updates);
  let results = (outs LM_RankedTensor:$result);
  let assemblyFormat = "$kind operands attr-dict `:` functional-type(operands, results)";
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_ArgSortOp : LM_Op<"arg_sort", [LM_Sequential]> {
  let summary = "where the sorted elements along an axis are, as i64; equal ones in order";
  let description = [{
    As many indices as the result's dimension says, from the front. NaN counts as
    larger than every number. With `lexicographic` the rows of a matrix are sorted
    instead, first element first, and the result is a vector.

    - (C1) `axis` is in [0, rank), and 0 of a matrix with `lexicographic`.
    - (C2) the result is i64 and has the operand's dimensions, at most that many
      at `axis`; with `lexicographic` only that one.
  }];
  let arguments = (ins LM_AnyTensor:$input, I64Attr:$axis, BoolAttr:$descending,
                       DefaultValuedAttr<BoolAttr, "false">:$lexicographic);
  let results = (outs LM_IntTensor:$result);
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_TrueIndicesOp : LM_Op<"true_indices", [LM_Sequential]> {
  let summary = "the indices of the true elements of a vector, ascending, as i64";
  let description = [{
    The result's dimension is the number of true elements, whatever says so:
    usually a symbol of `lm.define_symbol`.

    - (C1) operand and result are vectors; the result is i64.
  }];
  let arguments = (ins LM_BoolTensor:$mask);
  let results = (outs LM_IntTensor:$result);
  let hasFolder = 1;
  let hasVerifier = 1;
}

// Not Pure: whatever has the symbol in its type or attributes depends on it.
def LM_DefineSymbolOp : Op<LM_Dialect, "define_symbol", [MemoryEffects<[MemWrite]>]> {
  let summary = "a number of the data becomes a symbol of sizes";
  let description = [{
    Types and attributes behind this operation may use `symbol`, which stands for
    the one element of `value` while a model runs. `bound` (one entry) is never
    below it: memory is laid out for the bound when shapes are bound. Names of such
    symbols begin with `count_`: they may be zero.

    - (C1) `value` is one i64.
    - (C2) `bound` has one entry.
    - (C3) `symbol` begins with `count_`, and is an identifier.
  }];
  let arguments = (ins LM_IntTensor:$value, StrAttr:$symbol, LM_SymValuesAttr:$bound);
  let assemblyFormat = "$symbol `=` $value attr-dict `:` type($value)";
  let hasVerifier = 1;
}

def LM_NonMaxSuppressionOp : LM_Op<"non_max_suppression", [LM_Sequential]> {
  let summary = "boxes that no better one overlaps too much, by class (ONNX NonMaxSuppression)";
  let description = [{
    boxes [B, N, 4], scores [B, C, N] -> [B, C, K]: indices of the selected boxes,
    best score first (equal ones in order), then -1. A box is selected if its score
    is above `score_threshold`, fewer than `max_output` are, and its intersection
    over union with each of them is at most `iou_threshold`. Overlaps are computed
    in f64. Boxes are corners in any order, or centre and size.

    - (C1) `boxes` is [B, N, 4] and `scores` [B, C, N], of one type.
    - (C2) `max_output` is one i64, the thresholds are one element of that type.
    - (C3) the result is [B, C, K] of i64.
  }];
  let arguments = (ins LM_FloatTensor:$boxes, LM_FloatTensor:$scores, LM_IntTensor:$max_output,
                       LM_FloatTensor:$iou_threshold, Optional<LM_FloatTensor>:$score_threshold,
                       BoolAttr:$center_point_box);
  let results = (outs LM_IntTensor:$result);
  let hasVerifier = 1;
}

#endif
