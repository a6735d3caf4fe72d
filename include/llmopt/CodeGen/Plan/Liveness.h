// Which values of a plan share memory, and for how long they live.
#ifndef LLMOPT_CODEGEN_PLAN_LIVENESS_H
#define LLMOPT_CODEGEN_PLAN_LIVENESS_H

#include "llmopt/Dialect/Kernel/IR/Kernel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace llmopt {

/// A step is an operation that runs: every kernel but views and packs.
bool isStep(mlir::Operation *op);

struct Liveness {
  llvm::SmallVector<mlir::Operation *> steps;

  /// The value whose memory a value lies in: of a view its source, of a result
  /// written in place the operand, else the value itself.
  llvm::DenseMap<mlir::Value, mlir::Value> storage;
  mlir::Value getStorage(mlir::Value value) const;

  /// Steps from the first write to the last use, inclusive, by storage.
  struct Range {
    uint32_t first = 0, last = 0;
  };
  llvm::DenseMap<mlir::Value, Range> ranges;

  /// Storage that is the memory of an output: which one.
  llvm::DenseMap<mlir::Value, uint32_t> outputs;
};

/// Decides for a function of kernels. A result takes an operand's memory where
/// the kernel reads each element before it writes it, the operand is dead then,
/// and both have as many bytes. Results that are returned are outputs.
Liveness computeLiveness(mlir::func::FuncOp function);

/// Whether `op` may write its first result over this operand.
bool mayWriteInPlace(mlir::OpOperand &operand);

} // namespace llmopt

#endif
