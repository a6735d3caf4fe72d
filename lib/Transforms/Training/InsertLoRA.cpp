// Low-rank adapters (Hu et al. 2022) beside frozen linear layers.
#include "NameGlobs.h"

#include "llmopt/Dialect/LM/IR/NodeLocation.h"
#include "llmopt/Transforms/Training/Autodiff.h"
#include "llmopt/Transforms/Training/Passes.h"
#include "llmopt/Transforms/Training/TrainedWeights.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/MapVector.h"

#include <cmath>

namespace llmopt {
#define GEN_PASS_DEF_INSERTLORAPASS
#include "llmopt/Transforms/Training/Passes.h.inc"
} // namespace llmopt

using namespace mlir;
using namespace llmopt;
using namespace llmopt::lm;

namespace {

/// The weight of the model behind a linear layer, also through views of it, and rounded.
WeightOp findWeight(LinearOp linear) {
  Operation *op = linear.getWeight().getDefiningOp();
  while (isa_and_nonnull<TransposeOp, ReshapeOp, QuantizeOp, DequantizeOp, FakeQuantizeOp>(op))
    op = op->getOperand(0).getDefiningOp();
  return dyn_cast_or_null<WeightOp>(op);
}

/// What the owner of the model calls the layer: its weight without ".weight", or, where
/// an exporter renamed that, the module that the graph names.
std::string getLayerName(LinearOp linear, WeightOp weight) {
  StringRef name = weight.getName();
  if (name.ends_with(".weight") && !name.contains("::"))
    return name.drop_back(7).str();
  std::string module = getModulePath(linear);
  return module.empty() ? name.str() : module;
}

/// Linear layers that share a weight share an adapter.
struct Layer {
  std::string name;
  SmallVector<LinearOp> sites;
};

struct InsertLoRAPass : llmopt::impl::InsertLoRAPassBase<InsertLoRAPass> {
  using llmopt::impl::InsertLoRAPassBase<InsertLoRAPass>::InsertLoRAPassBase;

  void runOnOperation() override {
    auto main = getOperation().lookupSymbol<func::FuncOp>("main");
    if (!main || !llvm::hasSingleElement(main.getBody())) {
      getOperation().emitError("expected a function @main to adapt");
      return signalPassFailure();
    }
    if (rank < 1 || !(alpha > 0) || targets.empty()) {
      main.emitError() << "expected a rank of 1 or more, a positive alpha and targets, but got rank " << rank.getValue()
                       << ", alpha " << alpha.getValue() << " and " << targets.size() << " targets";
      return signalPassFailure();
    }
    llvm::MapVector<StringAttr, Layer> layers; // by weight
    for (LinearOp linear : main.getOps<LinearOp>())
      if (WeightOp weight = findWeight(linear); weight && getElementTypeOrSelf(linear.getInput()).isF32()) {
        Layer &layer = layers[weight.getNameAttr()];
        if (layer.sites.empty())
          layer.name = getLayerName(linear, weight);
        layer.sites.push_back(linear);
      }
    std::vector<std::vector<std::string>> names;
    for (auto &[weight, layer] : layers)
      names.push_back({layer.name, weight.str()});
    if (names.empty()) {
      main.emitError("expected linear layers to adapt, but the model has none that was raised");
      return signalPassFailure();
    }
    FailureOr<llvm::BitVector> selected =
        matchGlobs(main, "-lora", "linear layer", std::vector<std::string>(targets.begin(), targets.end()), names);
    if (failed(selected))
      return signalPassFailure();
    SmallVector<Attribute> adapted;
    for (auto [i, entry] : llvm::enumerate(layers))
      if (selected->test(i)) {
        adapt(entry.second);
        adapted.push_back(StringAttr::get(&getContext(), entry.second.name));
      }
    Builder builder(&getContext());
    getOperation()->setAttr("lm.lora",
                            builder.getDictionaryAttr({builder.getNamedAttr("alpha", builder.getF64FloatAttr(alpha)),
                                                       builder.getNamedAttr("layers", builder.getArrayAttr(adapted)),
                                                       builder.getNamedAttr("rank", builder.getI64IntegerAttr(rank)),
                                                       builder.getNamedAttr("rs", builder.getBoolAttr(rs))}));
  }

private:
  /// y -> y + s B (A x).
  void adapt(Layer &layer) {
    OpBuilder builder(layer.sites.front());
    auto type = cast<RankedTensorType>(layer.sites.front().getWeight().getType());
    bool transposed = layer.sites.front().getTransposeWeight();
    int64_t inputs = type.getDimSize(transposed ? 1 : 0), outputs = type.getDimSize(transposed ? 0 : 1);
    std::string prefix = "base_model.model." + layer.name; // as PEFT writes them
    Location loc = layer.sites.front().getLoc();
    // Kaiming's uniform distribution with a = sqrt(5): sqrt(6 / ((1 + a^2) inputs)).
    Value a = addDrawnWeight(builder, loc, prefix + ".lora_A.weight", {rank, inputs}, DrawKind::Uniform,
                             1 / std::sqrt(double(inputs)), seed, TrainedWeight::Adapter);
    Value b = addDrawnWeight(builder, loc, prefix + ".lora_B.weight", {outputs, rank}, DrawKind::Zeros, 0, seed,
                             TrainedWeight::Adapter);
    for (LinearOp linear : layer.sites) {
      builder.setInsertionPointAfter(linear);
      VJPContext c(builder, linear.getLoc(), [](Value, Value) {}, [](Value) { return false; });
      BoolAttr transpose = builder.getBoolAttr(true);
      Value low = c.create<LinearOp>(linear.getInput(), a, Value(), transpose);
      low = c.mul(low, alpha / (rs ? std::sqrt(double(rank)) : double(rank)));
      Value sum = c.add(linear, c.create<LinearOp>(low, b, Value(), transpose));
      linear.getResult().replaceAllUsesExcept(sum, sum.getDefiningOp());
    }
  }
};

} // namespace
