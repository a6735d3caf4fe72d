// Weights that stand for what is left of them in fewer bits: their integers are
// recipes, and kept instead of floats.
#include "Partition.h"

using namespace mlir;
using namespace llmopt;

void plan::lowerFakeQuantize(func::FuncOp function) {
  for (auto op : llvm::make_early_inc_range(function.getOps<lm::FakeQuantizeOp>())) {
    if (!isRecipe(op.getInput()))
      continue;
    OpBuilder builder(op);
    op.getResult().replaceAllUsesWith(op.expand(builder));
    op.erase();
  }
}
