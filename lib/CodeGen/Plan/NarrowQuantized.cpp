// f16 and bf16 around products of what is quantized: kernels round what they give, and
// widen what they take, so that no cast passes over memory in between.
#include "Partition.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace llmopt;

/// f32 and a narrower float that products of the target know.
static bool isNarrowerFloat(Type narrow, Type wide, const PlanTarget &target) {
  return (narrow.isF16() || narrow.isBF16()) && wide.isF32() && target.hasGemm(narrow);
}

Value plan::getBeforeWidening(Value value, const PlanTarget &target) {
  auto cast = value.getDefiningOp<lm::CastOp>();
  return cast && isNarrowerFloat(getElementTypeOrSelf(cast.getInput()), getElementTypeOrSelf(value), target)
             ? cast.getInput()
             : value;
}

/// quantize(widen(x)) -> quantize(x), also where groups of rows are rows of their own.
template <typename Quantize> static void narrowInput(Quantize quantize, const PlanTarget &target) {
  Value input = quantize.getInput();
  if (Value narrow = plan::getBeforeWidening(input, target); narrow != input) {
    quantize.getInputMutable().assign(narrow);
    return;
  }
  auto reshape = input.getDefiningOp<lm::ReshapeOp>();
  Value narrow = reshape ? plan::getBeforeWidening(reshape.getInput(), target) : Value();
  if (!narrow || narrow == reshape.getInput())
    return;
  OpBuilder builder(quantize);
  Value split = lm::ReshapeOp::create(builder, reshape.getLoc(), narrow, lm::getDims(input));
  quantize.getInputMutable().assign(split);
}

/// narrow(gemm(..)) -> gemm(..) of the narrow type.
template <typename Gemm> static void narrowResults(func::FuncOp function, const PlanTarget &target) {
  for (auto gemm : function.getOps<Gemm>()) {
    Value result = gemm.getResult();
    auto cast = result.hasOneUse() ? dyn_cast<lm::CastOp>(*result.user_begin()) : lm::CastOp();
    if (!cast || !isNarrowerFloat(getElementTypeOrSelf(cast.getType()), getElementTypeOrSelf(result), target))
      continue;
    result.setType(cast.getType());
    cast.getResult().replaceAllUsesWith(result);
  }
}

void plan::narrowQuantizedProducts(func::FuncOp function, const PlanTarget &target) {
  for (auto rows : function.getOps<kernel::QuantizeRowsOp>())
    narrowInput(rows, target);
  for (auto tensor : function.getOps<kernel::QuantizeTensorOp>())
    narrowInput(tensor, target);
  narrowResults<kernel::GemmS8Op>(function, target);
  narrowResults<kernel::GemmF8Op>(function, target);
  narrowResults<kernel::GemmW4A8Op>(function, target);
  narrowResults<kernel::GemmWQOp>(function, target);
  eraseDead(function);
}
