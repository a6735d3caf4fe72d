// f16 and bf16 around int8 products: kernels round what they give, and widen what they
// take, so that no cast passes over memory in between.
#include "Partition.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;

/// f32 and a narrower float that products of the target know.
static bool isNarrowerFloat(Type narrow, Type wide, const PlanTarget &target) {
  return (narrow.isF16() || narrow.isBF16()) && wide.isF32() && target.hasGemm(narrow);
}

void plan::narrowInt8Products(func::FuncOp function, const PlanTarget &target) {
  for (auto rows : function.getOps<kernel::QuantizeRowsOp>()) {
    auto cast = rows.getInput().getDefiningOp<lm::CastOp>();
    if (cast && isNarrowerFloat(getElementTypeOrSelf(cast.getInput()), getElementTypeOrSelf(cast.getType()), target))
      rows.getInputMutable().assign(cast.getInput());
  }
  for (auto gemm : function.getOps<kernel::GemmS8Op>()) {
    Value result = gemm.getResult();
    auto cast = result.hasOneUse() ? dyn_cast<lm::CastOp>(*result.user_begin()) : lm::CastOp();
    if (!cast || !isNarrowerFloat(getElementTypeOrSelf(cast.getType()), getElementTypeOrSelf(result), target))
      continue;
    result.setType(cast.getType());
    cast.getResult().replaceAllUsesWith(result);
  }
  eraseDead(function);
}
