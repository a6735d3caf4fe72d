// What the owner of a model calls a weight that its exporter renamed.
//
// torch.onnx folds the transpose of a linear layer into its weight and calls the result
// onnx::MatMul_746 or val_26; the module that reads it still has its name.
#ifndef LLMOPT_DIALECT_LM_IR_MODULENAMES_H
#define LLMOPT_DIALECT_LM_IR_MODULENAMES_H

#include "llmopt/Dialect/LM/IR/LM.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace llmopt::lm {

struct ModuleName {
  std::string name;        // "encoder.layer.0.attention.self.query.weight"
  bool transposed = false; // the module has it as [outputs, inputs]
};

/// Notes the names of an imported function's weights on their operations. A name that
/// two weights would have is given to none.
void noteModuleNames(mlir::func::FuncOp function);

/// What was noted; else the weight's own name.
ModuleName getModuleName(WeightOp weight);

} // namespace llmopt::lm

#endif
