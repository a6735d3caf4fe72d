// The elements of weights that training adds.
#ifndef LLMOPT_DIALECT_LM_IR_DRAWNWEIGHTS_H
#define LLMOPT_DIALECT_LM_IR_DRAWNWEIGHTS_H

#include "llmopt/Dialect/LM/IR/LM.h"

namespace llmopt::lm {

/// Elements [first, first + count) of the weight `name`, f32, row major. Any part may
/// be asked for: no element depends on another one.
void drawElements(DrawnAttr source, llvm::StringRef name, uint64_t first, llvm::MutableArrayRef<float> elements);

} // namespace llmopt::lm

#endif
