// Elementwise operations. Operands broadcast as in NumPy.
#ifndef LLMOPT_LM_ELEMENTWISE_OPS
#define LLMOPT_LM_ELEMENTWISE_OPS

include "llmopt/Dialect/LM/IR/LMAttributes.td"

class LM_UnaryOp<string mnemonic, Type type, string what, list<Trait> traits = []>
    : LM_InferredOp<mnemonic, traits> {
  let summary = what;
  let arguments = (ins type:$input);
  let results = (outs type:$result);
  let hasFolder = 1;
}

def LM_NegOp : LM_UnaryOp<"neg", LM_AnyTensor, "-x">;
def LM_AbsOp : LM_UnaryOp<"abs", LM_AnyTensor, "|x|">;
def LM_ExpOp : LM_UnaryOp<"exp", LM_FloatTensor, "e^x">;
def LM_LogOp : LM_UnaryOp<"log", LM_FloatTensor, "natural logarithm">;
def LM_SqrtOp : LM_UnaryOp<"sqrt", LM_FloatTensor, "square root">;
def LM_ReciprocalOp : LM_UnaryOp<"reciprocal", LM_FloatTensor, "1/x">;
def LM_SinOp : LM_UnaryOp<"sin", LM_FloatTensor, "sine">;
def LM_CosOp : LM_UnaryOp<"cos", LM_FloatTensor, "cosine">;
def LM_ErfOp : LM_UnaryOp<"erf", LM_FloatTensor, "error function">;
def LM_TanhOp : LM_UnaryOp<"tanh", LM_FloatTensor, "hyperbolic tangent">;
def LM_SigmoidOp : LM_UnaryOp<"sigmoid", LM_FloatTensor, "1/(1+e^-x)">;
def LM_SoftplusOp : LM_UnaryOp<"softplus", LM_FloatTensor, "log(1+e^x)">;
def LM_ReluOp : LM_UnaryOp<"relu", LM_AnyTensor, "max(x, 0)">;
def LM_SignOp : LM_UnaryOp<"sign", LM_AnyTensor, "-1, 0 or 1; NaN stays NaN">;
def LM_FloorOp : LM_UnaryOp<"floor", LM_FloatTensor, "round down">;
def LM_CeilOp : LM_UnaryOp<"ceil", LM_FloatTensor, "round up">;
def LM_RoundOp : LM_UnaryOp<"round", LM_FloatTensor, "round half to even">;
def LM_NotOp : LM_UnaryOp<"not", LM_BoolTensor, "logical not">;
def LM_LeakyReluOp : LM_UnaryOp<"leaky_relu", LM_FloatTensor, "x < 0 ? alpha x : x"> {
  let arguments = (ins LM_FloatTensor:$input, F64Attr:$alpha);
}
def LM_EluOp : LM_UnaryOp<"elu", LM_FloatTensor, "x < 0 ? alpha (e^x - 1) : x"> {
  let arguments = (ins LM_FloatTensor:$input, F64Attr:$alpha);
}

def LM_IsNaNOp : LM_InferredOp<"is_nan"> {
  let summary = "whether x is NaN";
  let arguments = (ins LM_FloatTensor:$input);
  let results = (outs LM_BoolTensor:$result);
  let hasFolder = 1;
}
def LM_IsInfOp : LM_InferredOp<"is_inf"> {
  let summary = "whether x is an infinity of a wanted sign";
  let arguments = (ins LM_FloatTensor:$input, BoolAttr:$detect_negative, BoolAttr:$detect_positive);
  let results = (outs LM_BoolTensor:$result);
  let hasFolder = 1;
}

def LM_CastOp : LM_Op<"cast"> {
  let summary = "conversion of the element type";
  let description = [{
    Floats to integers truncate; out of range wraps as ONNX Runtime does on x86
    for finite values and is otherwise unspecified. To bool: x != 0.

    Floats are rounded to nearest, ties to even. To floats of 8 bits, what is too
    large takes the largest value with `saturate`, infinities too; without it, an
    infinity where the type has one, else NaN. f4E2M1FN always saturates, and NaN
    becomes -0. f8E8M0FNU keeps the exponent of |x|: `rounding` says what a
    fraction does (nearest: halves go up), infinities become NaN, and 0 the smallest
    value.

    - (C1) operand and result have compatible shapes.
    - (C2) `rounding` is nearest unless the result is f8E8M0FNU.
  }];
  let arguments = (ins LM_AnyTensor:$input, DefaultValuedAttr<BoolAttr, "true">:$saturate,
                       DefaultValuedAttr<LM_RoundingAttr, "::llmopt::lm::Rounding::Nearest">:$rounding);
  let results = (outs LM_AnyTensor:$result);
  let builders = [OpBuilder<(ins "::mlir::Value":$input, "::mlir::Type":$elementType)>];
  let hasFolder = 1;
  let hasVerifier = 1;
}

class LM_BinaryOp<string mnemonic, Type type, string what, list<Trait> traits = []>
    : LM_InferredOp<mnemonic, traits> {
  let summary = what;
  let arguments = (ins type:$lhs, type:$rhs);
  let results = (outs type:$result);
  let hasFolder = 1;
}

def LM_AddOp : LM_BinaryOp<"add", LM_AnyTensor, "a + b", [Commutative]>;
def LM_SubOp : LM_BinaryOp<"sub", LM_AnyTensor, "a - b">;
def LM_MulOp : LM_BinaryOp<"mul", LM_AnyTensor, "a b", [Commutative]>;
def LM_DivOp : LM_BinaryOp<"div", LM_AnyTensor, "a / b; integers truncate towards zero">;
def LM_PowOp : LM_InferredOp<"pow"> {
  let summary = "a^b, in the type of a";
  let arguments = (ins LM_AnyTensor:$lhs, LM_AnyTensor:$rhs);
  let results = (outs LM_AnyTensor:$result);
  let hasFolder = 1;
}
def LM_ModOp : LM_BinaryOp<"mod", LM_AnyTensor, "a mod b: sign of the divisor, or of the dividend with fmod"> {
  let arguments = (ins LM_AnyTensor:$lhs, LM_AnyTensor:$rhs, BoolAttr:$fmod);
}
def LM_MinOp : LM_BinaryOp<"min", LM_AnyTensor, "smaller of a and b; NaN if either is", [Commutative]>;
def LM_MaxOp : LM_BinaryOp<"max", LM_AnyTensor, "larger of a and b; NaN if either is", [Commutative]>;
def LM_AndOp : LM_BinaryOp<"and", LM_BoolTensor, "logical and", [Commutative]>;
def LM_OrOp : LM_BinaryOp<"or", LM_BoolTensor, "logical or", [Commutative]>;
def LM_XorOp : LM_BinaryOp<"xor", LM_BoolTensor, "logical exclusive or", [Commutative]>;

def LM_CompareOp : LM_InferredOp<"compare"> {
  let summary = "comparison; false where either side is NaN";
  let arguments = (ins LM_PredicateAttr:$predicate, LM_AnyTensor:$lhs, LM_AnyTensor:$rhs);
  let results = (outs LM_BoolTensor:$result);
  let assemblyFormat = "$predicate operands attr-dict `:` functional-type(operands, results)";
  let hasFolder = 1;
}

def LM_WhereOp : LM_InferredOp<"where"> {
  let summary = "condition ? a : b, elementwise";
  let arguments = (ins LM_BoolTensor:$condition, LM_AnyTensor:$lhs, LM_AnyTensor:$rhs);
  let results = (outs LM_AnyTensor:$result);
  let hasFolder = 1;
  let hasCanonicalizer = 1;
}

def LM_ClipOp : LM_InferredOp<"clip", [AttrSizedOperandSegments]> {
  let summary = "x limited to [min, max]; NaN stays NaN";
  let description = [{
    - (C1) `min` and `max`, where present, have one element.
  }];
  let arguments = (ins LM_AnyTensor:$input, Optional<LM_AnyTensor>:$min, Optional<LM_AnyTensor>:$max);
  let results = (outs LM_AnyTensor:$result);
  let assemblyFormat = "$input (`min` $min^)? (`max` $max^)? attr-dict `:` functional-type(operands, results)";
  let hasFolder = 1;
  let hasVerifier = 1;
}

#endif
