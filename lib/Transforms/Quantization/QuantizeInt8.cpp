// Explicit int8 around linear layers; what to do with it is the plan's choice.
#include "llmopt/Transforms/Quantization/Passes.h"
#include "llmopt/Transforms/Quantization/Scheme.h"

namespace llmopt {
#define GEN_PASS_DEF_QUANTIZEINT8PASS
#include "llmopt/Transforms/Quantization/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;

namespace {
struct QuantizeInt8Pass : llmopt::impl::QuantizeInt8PassBase<QuantizeInt8Pass> {
  using llmopt::impl::QuantizeInt8PassBase<QuantizeInt8Pass>::QuantizeInt8PassBase;

  void runOnOperation() override {
    QuantScheme scheme{QuantScheme::Weight::Int8, QuantScheme::Input::PerToken, 0, fake};
    if (!fake)
      expandFakeQuantize(getOperation());
    InputQuantizer inputs;
    getOperation().walk([&](lm::LinearOp linear) {
      auto [k, n] = getWeightSize(linear);
      if (std::min(k, n) >= minWidth && isQuantizable(linear))
        quantizeLinear(linear, scheme, inputs);
    });
  }
};
} // namespace
