// A loaded model: checked tables, weights, and what it takes to let both go.
// Shared by its sessions through a count of references.
#ifndef LLMOPT_RT_MODEL_H
#define LLMOPT_RT_MODEL_H

#include "common.h"
#include "expr.h"
#include "weights.h"

#include "../cuda/src/device_model.h"

#include <atomic>

struct llmopt_model {
  std::atomic<uint32_t> references{1};
  llmopt_model_desc desc; ///< fields the artefact does not know are zero
  llmopt_model *parent = nullptr; ///< of an entry: what holds its code and weights
  void *library = nullptr;
  llmopt::rt::Weights weights;
  llmopt::rt::String path;
  llmopt::rt::String weightsPath;
  /// Of models that run on a device: made for the first session.
  llmopt::rt::DeviceModel *onDevice = nullptr;

  void retain() { references.fetch_add(1, std::memory_order_relaxed); }
  void release();
  /// The device's part, shared by all sessions; safe from any thread.
  llmopt_status useDevice(const llmopt::rt::DeviceModel **device, llmopt_error *error);

  /// False on overflow; see expr.h.
  bool evaluate(uint32_t expr, const int64_t *symbols, int64_t *result) const {
    const llmopt_expr &e = desc.exprs[expr];
    return llmopt::rt::evaluate(desc.expr_code + e.first, e.count, symbols, result);
  }
  size_t format(uint32_t expr, char *text, size_t capacity) const {
    const llmopt_expr &e = desc.exprs[expr];
    return llmopt::rt::formatExpr(desc.expr_code + e.first, e.count, desc.symbols, text, capacity);
  }
  /// The symbol that an expression is, LLMOPT_NONE if it is anything else.
  uint32_t asSymbol(uint32_t expr) const {
    const llmopt_expr &e = desc.exprs[expr];
    const llmopt_expr_insn &insn = desc.expr_code[e.first];
    return e.count == 1 && insn.op == LLMOPT_EXPR_SYMBOL ? static_cast<uint32_t>(insn.value) : LLMOPT_NONE;
  }
};

#endif
