// Where dropout stood when the model was trained, and does again.
#ifndef LLMOPT_LIB_TRANSFORMS_TRAINING_DROPOUT_H
#define LLMOPT_LIB_TRANSFORMS_TRAINING_DROPOUT_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace llmopt {

/// Puts lm.dropout into `function`; `hyper` adds an f32 scalar argument. Fails, with a
/// message, where the function has no place for any.
mlir::LogicalResult insertDropout(mlir::func::FuncOp function,
                                  llvm::function_ref<mlir::Value(llvm::StringRef name, double byDefault)> hyper,
                                  double probability);

} // namespace llmopt

#endif
