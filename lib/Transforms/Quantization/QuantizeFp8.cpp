// Explicit e4m3 around linear layers; the plan has products of it for GPUs.
#include "llmopt/Transforms/Quantization/Passes.h"
#include "llmopt/Transforms/Quantization/Scheme.h"

namespace llmopt {
#define GEN_PASS_DEF_QUANTIZEFP8PASS
#include "llmopt/Transforms/Quantization/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;

namespace {
struct QuantizeFp8Pass : llmopt::impl::QuantizeFp8PassBase<QuantizeFp8Pass> {
  using llmopt::impl::QuantizeFp8PassBase<QuantizeFp8Pass>::QuantizeFp8PassBase;

  void runOnOperation() override {
    const QuantScheme scheme{QuantScheme::Weight::E4M3, QuantScheme::Input::PerToken};
    InputQuantizer inputs;
    getOperation().walk([&](lm::LinearOp linear) {
      auto [k, n] = getWeightSize(linear);
      if (std::min(k, n) >= minWidth && isQuantizable(linear))
        quantizeLinear(linear, scheme, inputs);
    });
  }
};
} // namespace
