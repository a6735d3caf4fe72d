// Explicit int4 weights, in groups along K, around linear layers.
#include "llmopt/Transforms/Quantization/Passes.h"
#include "llmopt/Transforms/Quantization/Scheme.h"

namespace llmopt {
#define GEN_PASS_DEF_QUANTIZEINT4PASS
#include "llmopt/Transforms/Quantization/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;

namespace {
struct QuantizeInt4Pass : llmopt::impl::QuantizeInt4PassBase<QuantizeInt4Pass> {
  using llmopt::impl::QuantizeInt4PassBase<QuantizeInt4Pass>::QuantizeInt4PassBase;

  void runOnOperation() override {
    if (group != 32 && group != 64 && group != 128) {
      getOperation().emitError() << "expected groups of 32, 64 or 128, but got " << group.getValue();
      return signalPassFailure();
    }
    QuantScheme scheme{QuantScheme::Weight::Int4,
                       weightsOnly ? QuantScheme::Input::Float : QuantScheme::Input::PerGroup, group, fake};
    if (!fake)
      expandFakeQuantize(getOperation());
    InputQuantizer inputs;
    getOperation().walk([&](lm::LinearOp linear) {
      auto [k, n] = getWeightSize(linear);
      if (std::min(k, n) < minWidth || !isQuantizable(linear))
        return;
      if (std::optional<std::string> reason = whyNot(linear, scheme))
        linear.emitWarning() << "left in float: " << *reason;
      else
        quantizeLinear(linear, scheme, inputs);
    });
  }
};
} // namespace
