// How a spec names the buffers a kernel works on.
#ifndef LLMOPT_CODEGEN_CPU_OPERAND_H
#define LLMOPT_CODEGEN_CPU_OPERAND_H

#include "llmopt/CodeGen/CPU/Size.h"

namespace llmopt::cpu {

/// Element `offset` of the buffer `args[arg]`. Several operands of one kernel
/// may lie in one buffer (Q, K and V in a joint projection). Absent by default.
struct Operand {
  int64_t arg = -1;
  Size offset;

  Operand() = default;
  explicit Operand(int64_t arg, Size offset = 0) : arg(arg), offset(offset) {}
  explicit operator bool() const { return arg >= 0; }
  std::string key() const {
    return arg < 0 ? "n"
                   : "a" + std::to_string(arg) +
                         (offset.isConstant(0) ? "" : "o" + offset.key());
  }
};

} // namespace llmopt::cpu
#endif
