// Operations that move elements, and those that only look at shapes.
//
// Shapes are attributes or result types, never operands: the importer resolves
// shape operands through `#lm.sym` constants.
#ifndef LLMOPT_LM_SHAPE_OPS
#define LLMOPT_LM_SHAPE_OPS

include "llmopt/Dialect/LM/IR/LMAttributes.td"

def LM_ShapeOp : LM_InferredOp<"shape"> {
  let summary = "the dimensions of a tensor, as a 1-D i64 tensor";
  let description = [{ Folds to a constant or `#lm.sym` when every dimension is known. }];
  let arguments = (ins LM_RankedTensor:$input);
  let results = (outs LM_IntTensor:$result);
  let hasFolder = 1;
}

def LM_ReshapeOp : LM_Op<"reshape"> {
  let summary = "the same elements, row major, in the shape of the result type";
  let description = [{
    - (C1) operand and result have the same number of elements, where known, and
      the same element type.
  }];
  let arguments = (ins LM_RankedTensor:$input);
  let results = (outs LM_RankedTensor:$result);
  let builders = [OpBuilder<(ins "::mlir::Value":$input, "::llvm::ArrayRef<::llmopt::lm::SymExpr>":$dims)>];
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_BroadcastOp : LM_Op<"broadcast"> {
  let summary = "NumPy broadcast to the shape of the result type";
  let description = [{
    - (C1) every operand dimension, aligned from the right, is 1 or the result's.
  }];
  let arguments = (ins LM_RankedTensor:$input);
  let results = (outs LM_RankedTensor:$result);
  let builders = [OpBuilder<(ins "::mlir::Value":$input, "::llvm::ArrayRef<::llmopt::lm::SymExpr>":$dims)>];
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_TransposeOp : LM_InferredOp<"transpose"> {
  let summary = "result dimension i is operand dimension perm[i]";
  let description = [{
    - (C1) `perm` is a permutation of the operand's dimensions.
  }];
  let arguments = (ins LM_RankedTensor:$input, DenseI64ArrayAttr:$perm);
  let results = (outs LM_RankedTensor:$result);
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_ConcatOp : LM_InferredOp<"concat"> {
  let summary = "operands one behind the other along an axis";
  let description = [{
    - (C1) `axis` is in [0, rank).
    - (C2) operands agree in rank, element type and every other dimension.
  }];
  let arguments = (ins Variadic<LM_RankedTensor>:$inputs, I64Attr:$axis);
  let results = (outs LM_RankedTensor:$result);
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_SliceOp : LM_Op<"slice"> {
  let summary = "elements start + i*step of every dimension";
  let description = [{
    `starts` is a `#lm.sym` with one entry per dimension, `steps` one integer per
    dimension (negative: backwards); the counts are the result's dimensions.

    - (C1) `starts` and `steps` have the operand's rank; no step is 0.
    - (C2) where known, every index is inside the operand.
  }];
  let arguments = (ins LM_RankedTensor:$input, LM_SymValuesAttr:$starts, DenseI64ArrayAttr:$steps);
  let results = (outs LM_RankedTensor:$result);
  let builders = [OpBuilder<(ins "::mlir::Value":$input, "::llvm::ArrayRef<::llmopt::lm::SymExpr>":$starts,
      "::llvm::ArrayRef<::llmopt::lm::SymExpr>":$sizes, CArg<"::llvm::ArrayRef<int64_t>", "{}">:$steps)>];
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_PadOp : LM_Op<"pad"> {
  let summary = "the operand inside a frame of a constant";
  let description = [{
    `low` and `high` (`#lm.sym`, one entry per dimension) count the added elements.

    - (C1) `low` and `high` have the operand's rank.
    - (C2) `value` has one element, of the operand's type.
    - (C3) no count is negative; each result dimension is low + operand + high,
      where known.
  }];
  let arguments = (ins LM_RankedTensor:$input, LM_AnyTensor:$value, LM_SymValuesAttr:$low, LM_SymValuesAttr:$high);
  let results = (outs LM_RankedTensor:$result);
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_GatherOp : LM_InferredOp<"gather"> {
  let summary = "slices of `input` along `axis`, picked by `indices`";
  let description = [{
    Result: input[:axis] + indices.shape + input[axis+1:]. An index in [-n, -1]
    counts from the end.

    - (C1) `axis` is in [0, rank of input).
  }];
  let arguments = (ins LM_RankedTensor:$input, LM_IntTensor:$indices, I64Attr:$axis);
  let results = (outs LM_RankedTensor:$result);
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_GatherElementsOp : LM_InferredOp<"gather_elements"> {
  let summary = "result[i][j].. = input with the index at `axis` replaced by indices[i][j]..";
  let description = [{
    - (C1) `axis` is in [0, rank), and both operands have the same rank.
  }];
  let arguments = (ins LM_RankedTensor:$input, LM_IntTensor:$indices, I64Attr:$axis);
  let results = (outs LM_RankedTensor:$result);
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_GatherNDOp : LM_InferredOp<"gather_nd"> {
  let summary = "elements or slices of `input`, picked by index tuples";
  let description = [{
    The last dimension of `indices` is an index tuple (ONNX GatherND).

    - (C1) the last dimension of `indices` is static, at least 1, and at most the
      rank of `input` less `batch_dims`.
  }];
  let arguments = (ins LM_RankedTensor:$input, LM_IntTensor:$indices, I64Attr:$batch_dims);
  let results = (outs LM_RankedTensor:$result);
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_IotaOp : LM_Op<"iota"> {
  let summary = "the index along `axis`, in the result's element type";
  let description = [{
    - (C1) `axis` is in [0, rank of the result).
  }];
  let arguments = (ins I64Attr:$axis);
  let results = (outs LM_RankedTensor:$result);
  let hasFolder = 1;
  let hasVerifier = 1;
}

def LM_TriluOp : LM_InferredOp<"trilu"> {
  let summary = "upper or lower triangle of the last two dimensions, zero elsewhere";
  let description = [{
    - (C1) the operand has rank >= 2.
  }];
  let arguments = (ins LM_RankedTensor:$input, I64Attr:$diagonal, BoolAttr:$upper);
  let results = (outs LM_RankedTensor:$result);
  let hasFolder = 1;
  let hasVerifier = 1;
}

#endif
