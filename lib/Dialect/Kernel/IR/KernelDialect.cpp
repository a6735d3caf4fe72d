// Registration of the dialect.
#include "llmopt/Dialect/Kernel/IR/Kernel.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::kernel;

#include "llmopt/Dialect/Kernel/IR/KernelDialect.cpp.inc"
#include "llmopt/Dialect/Kernel/IR/KernelEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "llmopt/Dialect/Kernel/IR/KernelAttributes.cpp.inc"
#define GET_OP_CLASSES
#include "llmopt/Dialect/Kernel/IR/KernelOps.cpp.inc"

void KernelDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "llmopt/Dialect/Kernel/IR/KernelAttributes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "llmopt/Dialect/Kernel/IR/KernelOps.cpp.inc"
      >();
}
