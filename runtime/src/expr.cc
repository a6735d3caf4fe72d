#include "expr.h"

#include <cstdio>
#include <cstring>

using namespace llmopt::rt;

bool llmopt::rt::isWellFormed(const llmopt_expr_insn *code, uint32_t count, uint32_t numSymbols) {
  int depth = 0;
  for (uint32_t i = 0; i < count; ++i) {
    switch (code[i].op) {
    case LLMOPT_EXPR_CONST:
      ++depth;
      break;
    case LLMOPT_EXPR_SYMBOL:
      if (code[i].value < 0 || code[i].value >= int64_t(numSymbols))
        return false;
      ++depth;
      break;
    default:
      if (code[i].op < LLMOPT_EXPR_ADD || code[i].op > LLMOPT_EXPR_MAX || depth < 2)
        return false;
      --depth;
    }
    if (depth > maxExprDepth)
      return false;
  }
  return depth == 1;
}

/// Quotient and remainder rounded towards negative infinity.
static bool floorDivide(int64_t a, int64_t b, int64_t *quotient, int64_t *remainder) {
  if (b == 0 || (a == INT64_MIN && b == -1))
    return false;
  *quotient = a / b;
  *remainder = a % b;
  if (*remainder != 0 && (*remainder < 0) != (b < 0)) {
    *quotient -= 1;
    *remainder += b;
  }
  return true;
}

static bool apply(int64_t op, int64_t a, int64_t b, int64_t *result) {
  int64_t quotient, remainder;
  switch (op) {
  case LLMOPT_EXPR_ADD:
    return !__builtin_add_overflow(a, b, result);
  case LLMOPT_EXPR_MUL:
    return !__builtin_mul_overflow(a, b, result);
  case LLMOPT_EXPR_FLOORDIV:
    return floorDivide(a, b, result, &remainder);
  case LLMOPT_EXPR_CEILDIV:
    if (!floorDivide(a, b, &quotient, &remainder))
      return false;
    *result = quotient + (remainder != 0);
    return true;
  case LLMOPT_EXPR_MOD:
    if (b == -1) { // INT64_MIN mod -1 is 0 although the quotient overflows
      *result = 0;
      return true;
    }
    return floorDivide(a, b, &quotient, result);
  case LLMOPT_EXPR_MIN:
    *result = a < b ? a : b;
    return true;
  case LLMOPT_EXPR_MAX:
    *result = a > b ? a : b;
    return true;
  }
  return false;
}

bool llmopt::rt::evaluate(const llmopt_expr_insn *code, uint32_t count, const int64_t *symbols, int64_t *result) {
  int64_t stack[maxExprDepth];
  int depth = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (code[i].op == LLMOPT_EXPR_CONST) {
      stack[depth++] = code[i].value;
    } else if (code[i].op == LLMOPT_EXPR_SYMBOL) {
      stack[depth++] = symbols[code[i].value];
    } else {
      --depth;
      if (!apply(code[i].op, stack[depth - 1], stack[depth], &stack[depth - 1]))
        return false;
    }
  }
  *result = stack[0];
  return true;
}

namespace {
/// Appends to a fixed buffer and counts what would not fit.
struct Printer {
  const llmopt_expr_insn *code;
  const char *const *symbolNames;
  char *text;
  size_t capacity;
  size_t length = 0;

  void put(const char *s) {
    size_t n = std::strlen(s);
    for (size_t i = 0; i < n; ++i)
      if (length + i + 1 < capacity)
        text[length + i] = s[i];
    length += n;
  }

  /// Where the subexpression that ends at `last` begins.
  uint32_t begin(uint32_t last) const {
    int need = 1;
    for (;; --last) {
      need += code[last].op >= LLMOPT_EXPR_ADD ? 1 : -1;
      if (need == 0)
        return last;
    }
  }

  void operand(uint32_t last) {
    bool compound = code[last].op >= LLMOPT_EXPR_ADD && code[last].op < LLMOPT_EXPR_MIN;
    if (compound)
      put("(");
    print(last);
    if (compound)
      put(")");
  }

  void print(uint32_t last) {
    const llmopt_expr_insn &insn = code[last];
    if (insn.op == LLMOPT_EXPR_CONST) {
      char number[24];
      snprintf(number, sizeof(number), "%lld", static_cast<long long>(insn.value));
      return put(number);
    }
    if (insn.op == LLMOPT_EXPR_SYMBOL)
      return put(symbolNames[insn.value]);
    uint32_t left = begin(last - 1) - 1;
    if (insn.op == LLMOPT_EXPR_MIN || insn.op == LLMOPT_EXPR_MAX) {
      put(insn.op == LLMOPT_EXPR_MIN ? "min(" : "max(");
      print(left);
      put(", ");
      print(last - 1);
      return put(")");
    }
    static const char *const signs[] = {" + ", " * ", " floordiv ", " ceildiv ", " mod "};
    operand(left);
    put(signs[insn.op - LLMOPT_EXPR_ADD]);
    operand(last - 1);
  }
};
} // namespace

size_t llmopt::rt::formatExpr(const llmopt_expr_insn *code, uint32_t count, const char *const *symbolNames, char *text,
                              size_t capacity) {
  Printer printer{code, symbolNames, text, capacity};
  // Printing recurses; nobody reads a longer one anyway.
  if (count > 64)
    printer.put("<long expression>");
  else
    printer.print(count - 1);
  if (capacity)
    text[printer.length < capacity ? printer.length : capacity - 1] = '\0';
  return printer.length;
}
