// Transcendental functions as straight-line code on f32 scalars or vectors of
// any width, without library calls or branches, so that scalar uses vectorise.
//
// Infinities, NaN, signed zeros and denormals give what libm gives. Largest
// errors found against f64 libm by the tests, in ulp of the f32 result:
//   exp 2, log 2, tanh 2.5, erf 2, sigmoid 2.5, sin/cos 1 (|x| < 2^27), pow 1.
#ifndef LLMOPT_CODEGEN_CPU_VECTORMATH_H
#define LLMOPT_CODEGEN_CPU_VECTORMATH_H

#include "llmopt/CodeGen/CPU/KernelBuilder.h"

namespace llmopt::cpu {

V emitExp(KernelBuilder &kb, V x);
/// For x <= 0 (softmax): results below 2^-126 become zero; NaN stays NaN.
V emitExpNonPositive(KernelBuilder &kb, V x);
V emitLog(KernelBuilder &kb, V x);
V emitTanh(KernelBuilder &kb, V x);
V emitErf(KernelBuilder &kb, V x);
V emitSigmoid(KernelBuilder &kb, V x);
V emitSin(KernelBuilder &kb, V x);
V emitCos(KernelBuilder &kb, V x);
V emitPow(KernelBuilder &kb, V x, V y);

} // namespace llmopt::cpu
#endif
