// Transcendental functions as straight-line code on f32 or f64 scalars or vectors
// of any width, without library calls or branches, so that scalar uses vectorise.
//
// Infinities, NaN, signed zeros and denormals give what libm gives. Largest
// errors found against f64 libm by the tests, in ulp of the f32 result:
//   exp 1.1, log 1, tanh 2.5, erf 1.5, sigmoid 2.2, atan 2, pow 1, sin and cos 1 (1.5
//   up to |x| = 1.3e8; levels without FMA: up to 1e6). Beyond, sin and cos lose
//   accuracy.
// On f64, relative: exp, log, tanh, sigmoid 2e-15, erf 5e-15, pow 2e-13; sin and
// cos absolute 1e-15 up to |x| = 1e5.
#ifndef LLMOPT_CODEGEN_CPU_VECTORMATH_H
#define LLMOPT_CODEGEN_CPU_VECTORMATH_H

#include "llmopt/CodeGen/CPU/KernelBuilder.h"

namespace llmopt::cpu {

/// Of f64, too (1 ulp).
V emitExp(KernelBuilder &kb, V x);
/// For x <= 0 (softmax): f32 results below 2^-126 become zero; NaN stays NaN.
V emitExpNonPositive(KernelBuilder &kb, V x);
V emitLog(KernelBuilder &kb, V x);
V emitTanh(KernelBuilder &kb, V x);
V emitErf(KernelBuilder &kb, V x);
/// x (1 + erf(x / sqrt 2)) / 2
V emitGelu(KernelBuilder &kb, V x);
V emitSigmoid(KernelBuilder &kb, V x);
V emitSin(KernelBuilder &kb, V x);
V emitCos(KernelBuilder &kb, V x);
V emitAtan(KernelBuilder &kb, V x);
V emitPow(KernelBuilder &kb, V x, V y);

} // namespace llmopt::cpu
#endif
