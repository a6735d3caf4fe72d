// The functions of VectorMath.h on f64, which they dispatch to.
#ifndef LLMOPT_LIB_CODEGEN_CPU_VECTORMATH64_H
#define LLMOPT_LIB_CODEGEN_CPU_VECTORMATH64_H

#include "llmopt/CodeGen/CPU/KernelBuilder.h"

namespace llmopt::cpu::wide {

V exp(KernelBuilder &kb, V x);
V log(KernelBuilder &kb, V x);
V tanh(KernelBuilder &kb, V x);
V erf(KernelBuilder &kb, V x);
V sigmoid(KernelBuilder &kb, V x);
/// sin(x + quadrant * pi/2)
V sinOfQuadrant(KernelBuilder &kb, V x, int64_t quadrant);

} // namespace llmopt::cpu::wide
#endif
