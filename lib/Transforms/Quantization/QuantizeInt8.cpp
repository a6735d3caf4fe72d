// Explicit int8 around linear layers; what to do with it is the plan's choice.
#include "llmopt/Transforms/Matching.h"
#include "llmopt/Transforms/Quantization/Passes.h"

#include "mlir/IR/TypeUtilities.h"

namespace llmopt {
#define GEN_PASS_DEF_QUANTIZEINT8PASS
#include "llmopt/Transforms/Quantization/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// x -> dequantize(quantize(x, s), s), s = absmax over `axis` / 127.
Value roundTrip(OpBuilder &builder, Location loc, Value x, int64_t axis) {
  Type int8 = withElementType(x.getType(), builder.getI8Type());
  Value scale = AbsMaxScaleOp::create(builder, loc, x, builder.getDenseI64ArrayAttr({axis}),
                                      builder.getF64FloatAttr(127.0));
  Value q = QuantizeOp::create(builder, loc, int8, x, scale, Value(), builder.getBoolAttr(true));
  return DequantizeOp::create(builder, loc, q, scale, Value());
}

struct QuantizeInt8Pass : llmopt::impl::QuantizeInt8PassBase<QuantizeInt8Pass> {
  using llmopt::impl::QuantizeInt8PassBase<QuantizeInt8Pass>::QuantizeInt8PassBase;

  void runOnOperation() override {
    DenseMap<Value, Value> activations; // one quantization per value, however many linears read it
    getOperation().walk([&](LinearOp linear) {
      if (!isEligible(linear))
        return;
      OpBuilder builder(linear);
      Location loc = linear.getLoc();
      Value &input = activations[linear.getInput()];
      if (!input) {
        OpBuilder::InsertionGuard guard(builder);
        builder.setInsertionPointAfterValue(linear.getInput());
        int64_t last = cast<RankedTensorType>(linear.getInput().getType()).getRank() - 1;
        input = roundTrip(builder, loc, linear.getInput(), last);
      }
      int64_t inputAxis = linear.getTransposeWeight() ? 1 : 0;
      Value weight = roundTrip(builder, loc, linear.getWeight(), inputAxis);
      linear.getInputMutable().set(input);
      linear.getWeightMutable().set(weight);
    });
  }

  bool isEligible(LinearOp linear) const {
    if (!getElementTypeOrSelf(linear.getInput()).isF32() || !isWeightDerived(linear.getWeight()) ||
        linear.getInput().getDefiningOp<DequantizeOp>() || linear.getWeight().getDefiningOp<DequantizeOp>())
      return false;
    return llvm::all_of(cast<RankedTensorType>(linear.getWeight().getType()).getShape(),
                        [&](int64_t width) { return width >= minWidth; });
  }
};

} // namespace
