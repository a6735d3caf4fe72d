// Size expressions: evaluation with every step checked, and printing. Whether
// the code is well formed is checked once, when tables are (tables.h).
#ifndef LLMOPT_RT_EXPR_H
#define LLMOPT_RT_EXPR_H

#include "llmopt/Runtime/abi.h"

#include <cstddef>

namespace llmopt::rt {

/// Operands an expression may hold at once; deeper ones are refused at load.
constexpr int maxExprDepth = 64;

/// Whether `code[0 .. count)` leaves exactly one value, stays within
/// maxExprDepth, and names only known operators and symbols.
bool isWellFormed(const llmopt_expr_insn *code, uint32_t count, uint32_t numSymbols);

/// False on overflow or a division by zero. The code is well formed.
bool evaluate(const llmopt_expr_insn *code, uint32_t count, const int64_t *symbols, int64_t *result);

/// Writes "(sequence + 1) * 4"; returns the length it needs, like snprintf.
size_t formatExpr(const llmopt_expr_insn *code, uint32_t count, const char *const *symbolNames, char *text,
                  size_t capacity);

} // namespace llmopt::rt

#endif
