// Writing new tokens into a cache, f32 or bytes:
//   cache[b, past + s, :] = input[b, s, :]
//
// One tile is one sequence of the batch.
#ifndef LLMOPT_CODEGEN_CPU_KVAPPEND_H
#define LLMOPT_CODEGEN_CPU_KVAPPEND_H

#include "llmopt/CodeGen/CPU/KernelBuilder.h"
#include "llmopt/CodeGen/CPU/Operand.h"

namespace llmopt::cpu {

struct KVAppendSpec {
  std::string name;
  Size batch, tokens, past, capacity;
  Size width;
  Operand cache; // [batch, capacity, width]
  Operand input; // [batch, tokens, width]
  bool bytes = false; // elements of 8 bits
};

SizeFormula kvAppendTiles(const KVAppendSpec &spec);
void emitKVAppend(KernelBuilder &kb, const KVAppendSpec &spec);

} // namespace llmopt::cpu
#endif
