// The kernel dialect: include this to use its operations and attributes.
#ifndef LLMOPT_DIALECT_KERNEL_IR_KERNEL_H
#define LLMOPT_DIALECT_KERNEL_IR_KERNEL_H

#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/Interfaces/ControlFlowInterfaces.h"

#include "llmopt/Dialect/Kernel/IR/KernelDialect.h.inc"
#include "llmopt/Dialect/Kernel/IR/KernelEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "llmopt/Dialect/Kernel/IR/KernelAttributes.h.inc"
#define GET_OP_CLASSES
#include "llmopt/Dialect/Kernel/IR/KernelOps.h.inc"

namespace llmopt::kernel {
/// Steps of K that lie side by side in a packed weight.
int64_t getPackedGroup(Layout layout);
/// Bytes of one block of kernel.pack_groups: scales, zero points, nibbles.
int64_t getGroupBlockBytes(int64_t width, int64_t group, bool zeroPoints);
/// Bytes of a [k, n] int4 weight that kernel.pack_groups makes in rows.
int64_t getGroupRowsBytes(int64_t n, int64_t k, int64_t group, bool zeroPoints, bool halfScales);
/// Rows of memory from one sequence to the next of a key or value [B, S, W]: S,
/// or the capacity of the cache that it lies in.
lm::SymExpr getTokenRows(mlir::Value value);
} // namespace llmopt::kernel

#endif
