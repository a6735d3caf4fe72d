// The order in which a plan runs, which values share memory, and for how long
// they live.
#ifndef LLMOPT_CODEGEN_PLAN_LIVENESS_H
#define LLMOPT_CODEGEN_PLAN_LIVENESS_H

#include "llmopt/CodeGen/Plan/Tables.h"

namespace llmopt {

/// A step is an operation that runs: every kernel but views and packs.
bool isStep(mlir::Operation *op);

/// One entry of the artefact's step table: a kernel, or what the runtime does
/// itself (llmopt_control).
struct PlanStep {
  mlir::Operation *op = nullptr; // of a control step: what it belongs to
  uint32_t control = LLMOPT_CONTROL_NONE;
  /// Control steps only. A null value is an absent argument.
  llvm::SmallVector<mlir::Value> args;
  llvm::SmallVector<lm::SymExpr> dims;
  uint32_t target = LLMOPT_NONE; // a step, or an output
  /// CHECK: what must hold.
  ShapeConstraint constraint;
};

struct Liveness {
  /// The whole program, the functions of branches and repetitions in line.
  std::vector<PlanStep> program;

  /// The value whose memory a value lies in: of a view its source, of a result
  /// written in place the operand, of a called function's argument the operand of
  /// the call, of what a branch returns its result; else the value itself.
  llvm::DenseMap<mlir::Value, mlir::Value> storage;
  mlir::Value getStorage(mlir::Value value) const;
  /// Arguments of called functions: what they stand for.
  llvm::DenseMap<mlir::Value, mlir::Value> arguments;

  /// Steps from the first write to the last use, inclusive, by storage.
  struct Range {
    uint32_t first = 0, last = 0;
  };
  llvm::DenseMap<mlir::Value, Range> ranges;

  /// By kernel.define_symbol: in front of which step its number is read.
  llvm::DenseMap<mlir::Operation *, uint32_t> symbolSteps;
  /// All of them, those of branches and repetitions too, in the order of steps.
  std::vector<mlir::Operation *> symbols;
  /// What must hold of sizes that a branch or repetition counts itself; checked when
  /// the last of them is known.
  std::vector<ShapeConstraint> countConstraints;

  /// Storage that is the memory of an output: which one.
  llvm::DenseMap<mlir::Value, uint32_t> outputs;
};

/// Decides for a function of kernels, and for those that it calls. A result takes
/// an operand's memory where the kernel reads each element before it writes it,
/// the operand is dead then, and both have as many bytes. Results that are
/// returned are outputs. A failure has been reported.
mlir::FailureOr<Liveness> computeLiveness(mlir::func::FuncOp function);

/// Whether `op` may write its first result over this operand.
bool mayWriteInPlace(mlir::OpOperand &operand);

/// The dimensions of a value, those that are known only when the model has run as
/// the most that they can be. A failure has been reported.
mlir::FailureOr<llvm::SmallVector<lm::SymExpr>> getLargestDims(mlir::Value value);

} // namespace llmopt

#endif
