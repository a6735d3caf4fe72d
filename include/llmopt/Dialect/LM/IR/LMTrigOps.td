// Inverse trigonometric and inverse hyperbolic functions.
#ifndef LLMOPT_LM_TRIG_OPS
#define LLMOPT_LM_TRIG_OPS

include "llmopt/Dialect/LM/IR/LMElementwiseOps.td"

def LM_AcosOp : LM_UnaryOp<"acos", LM_FloatTensor, "inverse cosine, in [0, pi]">;
def LM_AsinOp : LM_UnaryOp<"asin", LM_FloatTensor, "inverse sine, in [-pi/2, pi/2]">;
def LM_AtanOp : LM_UnaryOp<"atan", LM_FloatTensor, "inverse tangent, in [-pi/2, pi/2]">;
def LM_AcoshOp : LM_UnaryOp<"acosh", LM_FloatTensor, "inverse hyperbolic cosine, not negative">;
def LM_AsinhOp : LM_UnaryOp<"asinh", LM_FloatTensor, "inverse hyperbolic sine">;
def LM_AtanhOp : LM_UnaryOp<"atanh", LM_FloatTensor, "inverse hyperbolic tangent">;

#endif
