// The lm dialect: include this to use its operations and attributes.
#ifndef LLMOPT_DIALECT_LM_IR_LM_H
#define LLMOPT_DIALECT_LM_IR_LM_H

#include "llmopt/Dialect/LM/IR/SymExpr.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/TensorEncoding.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include <memory>

namespace llmopt::lm {

class WeightStore;

/// Whether two lists of types differ at most in what they know about dimensions.
bool areCompatibleTypes(mlir::TypeRange lhs, mlir::TypeRange rhs);

/// Elements of the result follow from each other, so no loop computes one alone.
template <typename Op> class Sequential : public mlir::OpTrait::TraitBase<Op, Sequential> {};

} // namespace llmopt::lm

#include "llmopt/Dialect/LM/IR/LMDialect.h.inc"
#include "llmopt/Dialect/LM/IR/LMEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "llmopt/Dialect/LM/IR/LMAttributes.h.inc"
#define GET_OP_CLASSES
#include "llmopt/Dialect/LM/IR/LMOps.h.inc"

#include "llmopt/Dialect/LM/IR/Shapes.h"

#endif
