// What products of int8 rows with int8 and int4 weights have in common.
#ifndef LLMOPT_CODEGEN_CPU_INTEGERGEMM_H
#define LLMOPT_CODEGEN_CPU_INTEGERGEMM_H

#include "llmopt/CodeGen/CPU/KernelBuilder.h"
#include "llmopt/CodeGen/CPU/Operand.h"

namespace llmopt::cpu {

struct IntegerGemmSpec {
  std::string name; // symbol of the kernel
  Size m;
  int64_t n = 0, k = 0;
  Operand a;        // [M, K] int8
  Operand rowScale; // f32
  Operand b;        // packed
  Operand bias;     // [N], optional
  Operand residual; // [M, N], optional; may be C itself
  Operand c;        // [M, N]
  Activation activation = Activation::None;

  /// Rows and columns of one tile; 0 takes the target's default.
  int64_t mBlock = 0;
  int64_t nBlock = 0;
};

/// Whether the target multiplies four unsigned by four signed bytes and adds the
/// products to an int32 (AVX-512 VNNI).
inline bool hasByteDotProduct(const TargetInfo &target) {
  return target.isa == Isa::Avx512 && target.features.find("avx512vnni") != std::string::npos;
}

} // namespace llmopt::cpu
#endif
