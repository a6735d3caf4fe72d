// From kernels (L2) to the tables of an artefact. What differs between back ends,
// the kernels themselves, comes from a StepEmitter.
#ifndef LLMOPT_CODEGEN_PLAN_TABLES_H
#define LLMOPT_CODEGEN_PLAN_TABLES_H

#include "llmopt/CodeGen/Plan/ModelTables.h"
#include "llmopt/CodeGen/Plan/Recipe.h"
#include "llmopt/Dialect/Kernel/IR/Kernel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace llmopt {

/// How to start a kernel for one step. Its `args` are the operation's operands
/// in order, absent ones left out, then its results, then memory of the step's own.
struct StepKernel {
  std::string kernel; // symbol; steps that need the same code share it
  llvm::SmallVector<lm::SymExpr> dims;
  lm::SymExpr tiles = 1;
  lm::SymExpr scratchBytes = 0; // per thread
  /// Bytes of memory that tiles share while the step runs, one argument each.
  llvm::SmallVector<lm::SymExpr> temporaries;
  /// Bytes that are zero before and after the step (LLMOPT_BUFFER_ZERO); 0: no argument.
  lm::SymExpr zeros = 0;
  /// The product that a library may compute instead: all but step and expressions is set.
  std::optional<ModelTables::LibraryProduct> library;
  lm::SymExpr libraryRows = 0, libraryStride = 0, libraryOffset = 0;
};

class StepEmitter {
public:
  virtual ~StepEmitter();
  /// Makes sure that the kernel exists. A failure has been reported at the operation.
  virtual mlir::FailureOr<StepKernel> emit(mlir::Operation *op) = 0;
};

/// A value that must hold when shapes are bound.
struct ShapeConstraint {
  lm::SymExpr lhs, rhs;
  llmopt_relation relation = LLMOPT_EQUAL;
  std::string reason;
};
/// The function's `lm.constraints`, and what broadcasting of different symbols asks for.
mlir::FailureOr<std::vector<ShapeConstraint>> collectConstraints(mlir::func::FuncOp function);

/// Tables, and beside every weight how it is made. Build id and target fields
/// are the back end's to fill in.
struct PlannedModel {
  ModelTables tables;
  std::vector<Recipe> recipes; // of tables.weights
  /// Where canonical weights come from.
  std::vector<std::pair<std::string, lm::WeightOp>> sources;
};

/// Of `function`; and, where it is the @main of a module with @gradients and
/// @evaluate, of what trains it, too.
mlir::FailureOr<PlannedModel> buildTables(mlir::func::FuncOp function, StepEmitter &emitter);

/// The recipe of a weight expression; an error says which operation is in the way.
mlir::FailureOr<Recipe> buildRecipe(mlir::Value value);

/// llmopt_dtype of an element type; 0 where there is none.
uint32_t getDType(mlir::Type elementType);
/// The inverse; null where there is none.
mlir::Type getTypeOfDType(mlir::MLIRContext *context, uint32_t dtype);
/// Elements of a dense attribute as the runtime keeps them.
std::vector<char> getBytes(mlir::DenseElementsAttr attr);

/// JSON that describes the model (docs/formats.md). `steps` are the kernels of
/// its steps, null for those of the runtime.
std::string writeMetadata(mlir::func::FuncOp function, const PlannedModel &model,
                          llvm::ArrayRef<mlir::Operation *> steps);

/// Arithmetic of a step as an expression over symbols, and the bytes of its
/// operands and results.
lm::SymExpr getFlops(mlir::Operation *op);
lm::SymExpr getTraffic(mlir::Operation *op);

} // namespace llmopt

#endif
