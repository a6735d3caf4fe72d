// From raised models (L1) to kernels (L2).
#ifndef LLMOPT_CODEGEN_PLAN_BUILDPLAN_H
#define LLMOPT_CODEGEN_PLAN_BUILDPLAN_H

#include "llmopt/CodeGen/Plan/PlanTarget.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

namespace llmopt {

/// Partitions every function of the module into kernels. What cannot run is
/// reported at its location: all of it, then failure.
mlir::LogicalResult buildPlan(mlir::ModuleOp module, const PlanTarget &target);

/// The names of the ONNX nodes behind a location, in order, joined by " + ".
std::string getNodeNames(mlir::Location location);

/// Whether the value is a weight or an expression over weights and constants
/// that is computed ahead of time (a recipe). Constants of more than one float
/// are weights, too.
bool isRecipe(mlir::Value value);
/// Whether the value is an argument that holds a trained weight (`lm.role` "parameter").
bool isParameter(mlir::Value value);
/// Whether it is `lm.constant`.
bool isConstant(mlir::Value value);

/// Whether element i of the result depends on elements i of the operands (as they
/// broadcast) alone.
bool isElementwise(mlir::Operation *op);

} // namespace llmopt

#endif
