// Bits of integers, and the bits of any element as another type.
#ifndef LLMOPT_LM_BIT_OPS
#define LLMOPT_LM_BIT_OPS

include "llmopt/Dialect/LM/IR/LMElementwiseOps.td"

def LM_BitwiseAndOp : LM_BinaryOp<"bitwise_and", LM_IntTensor, "a & b", [Commutative]>;
def LM_BitwiseOrOp : LM_BinaryOp<"bitwise_or", LM_IntTensor, "a | b", [Commutative]>;
def LM_BitwiseXorOp : LM_BinaryOp<"bitwise_xor", LM_IntTensor, "a ^ b", [Commutative]>;
def LM_BitwiseNotOp : LM_UnaryOp<"bitwise_not", LM_IntTensor, "~a">;
def LM_ShiftLeftOp : LM_BinaryOp<"shift_left", LM_IntTensor, "a << b; 0 from b = width on">;
def LM_ShiftRightOp : LM_BinaryOp<"shift_right", LM_IntTensor,
    "a >> b, with copies of the sign for signed types; b at or beyond the width, or negative, shifts everything out">;

def LM_BitcastOp : LM_Op<"bitcast"> {
  let summary = "the same bits under another element type";
  let description = [{
    - (C1) operand and result have compatible shapes.
    - (C2) both element types take as many bits in memory (a bool takes 8).
  }];
  let arguments = (ins LM_AnyTensor:$input);
  let results = (outs LM_AnyTensor:$result);
  let builders = [OpBuilder<(ins "::mlir::Value":$input, "::mlir::Type":$elementType)>];
  let hasFolder = 1;
  let hasVerifier = 1;
}

#endif
