#include "llmopt/Transforms/Training/TrainedWeights.h"

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

static constexpr StringLiteral kTrained = "lm.trained", kHead = "head", kAdapter = "adapter";

Value llmopt::addDrawnWeight(OpBuilder &builder, Location loc, StringRef name, ArrayRef<int64_t> shape, DrawKind kind,
                             double scale, uint64_t seed, TrainedWeight what) {
  auto source = DrawnAttr::get(builder.getContext(), kind, builder.getF64FloatAttr(scale), seed);
  auto weight = WeightOp::create(builder, loc, RankedTensorType::get(shape, builder.getF32Type()), name, source);
  weight->setAttr(kTrained, builder.getStringAttr(what == TrainedWeight::Head ? kHead : kAdapter));
  return weight;
}

std::optional<TrainedWeight> llmopt::getTrainedWeight(WeightOp weight) {
  auto trained = weight->getAttrOfType<StringAttr>(kTrained);
  if (!trained)
    return std::nullopt;
  return trained.getValue() == kHead ? TrainedWeight::Head : TrainedWeight::Adapter;
}
