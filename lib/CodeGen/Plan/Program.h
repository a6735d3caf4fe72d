// Branches and repetitions of a plan put in line (Program.cpp), for Liveness.cpp.
#ifndef LLMOPT_LIB_CODEGEN_PLAN_PROGRAM_H
#define LLMOPT_LIB_CODEGEN_PLAN_PROGRAM_H

#include "llmopt/CodeGen/Plan/Liveness.h"

namespace llmopt::plan {

/// Where a function or an operation stands in the program: [first, last].
struct Span {
  uint32_t first = 0, last = 0;
};

class Program {
public:
  explicit Program(Liveness &liveness) : liveness(liveness) {}
  mlir::LogicalResult build(mlir::func::FuncOp main);

  /// Functions in the order of their calls, main first.
  llvm::SmallVector<mlir::func::FuncOp> functions;
  llvm::DenseMap<mlir::Operation *, Span> spans;
  /// Results that a called function writes itself: by what its terminator returns.
  llvm::DenseMap<mlir::Value, mlir::Value> returned;
  /// Values that live as long as an operation runs: counters, conditions.
  llvm::DenseMap<mlir::Value, mlir::Operation *> heldBy;
  /// Values that must live until the end of a function: what is copied there.
  llvm::DenseMap<mlir::Operation *, Span> bodies; // by function
  /// By function: its first step.
  llvm::DenseMap<mlir::Operation *, uint32_t> starts;

private:
  mlir::LogicalResult addFunction(mlir::func::FuncOp function);
  mlir::LogicalResult addBranch(kernel::BranchOp op);
  mlir::LogicalResult addRepeat(kernel::RepeatOp op);
  mlir::LogicalResult addChecks(mlir::func::FuncOp function);
  mlir::FailureOr<mlir::func::FuncOp> find(mlir::Operation *op, llvm::StringRef name, bool again = false);
  void stateShape(mlir::Value result, mlir::Value value);
  uint32_t add(PlanStep step);
  uint32_t next() const { return liveness.program.size(); }

  Liveness &liveness;
  /// Results of unknown dimensions that are an output.
  llvm::DenseMap<mlir::Value, uint32_t> outputOf;
  std::vector<ShapeConstraint> known;
};

/// What a value is a whole view of.
mlir::Value getWhole(mlir::Value value);

} // namespace llmopt::plan

#endif
