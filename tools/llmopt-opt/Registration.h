// The dialects and passes that llmopt-opt knows.
#ifndef LLMOPT_TOOLS_LLMOPT_OPT_REGISTRATION_H
#define LLMOPT_TOOLS_LLMOPT_OPT_REGISTRATION_H

#include "mlir/IR/DialectRegistry.h"

namespace llmopt {

void registerEverything(mlir::DialectRegistry &registry);

} // namespace llmopt

#endif
