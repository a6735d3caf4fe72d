// Normalisation and activations of transformers.
#include "OpTable.h"

using namespace llmopt;
using namespace llmopt::lm;
using namespace llmopt::onnx_export;

static void norm(OpWriter &w) {
  auto op = w.as<NormOp>();
  bool isLayer = op.getKind() == NormKind::Layer;
  mlir::Type type = w.elem(op.getInput());
  Name scale = w.in(op.getScale()), bias = w.in(op.getBias());
  if (scale.empty()) {
    // [1] would broadcast by the text of the standard, but not in every engine.
    SymExpr width = w.dims(op.getInput()).back();
    scale = w.node("Expand", {w.scalar(type, 1), w.sizes(width)});
  }
  double epsilon = op.getEpsilon().convertToDouble();
  if (isLayer)
    return w.out(
        w.node("LayerNormalization", {w.in(op.getInput()), scale, bias}, {{"axis", -1}, {"epsilon", epsilon}}));
  Name result = w.node("RMSNormalization", {w.in(op.getInput()), scale}, {{"axis", -1}, {"epsilon", epsilon}}, 23);
  w.out(op.getBias() ? w.add(result, bias) : result);
}

static void gelu(OpWriter &w) {
  auto op = w.as<GeluOp>();
  if (op.getKind() != GeluKind::Quick)
    return w.out(w.node("Gelu", {w.in(0)}, {{"approximate", op.getKind() == GeluKind::Tanh ? "tanh" : "none"}}, 20));
  Name scaled = w.mul(w.in(0), w.scalar(w.elem(op.getInput()), 1.702));
  w.out(w.mul(w.in(0), w.node("Sigmoid", {scaled})));
}

void onnx_export::addTransformerOps(OpTable &t) {
  t.add<NormOp>(norm);
  t.add<GeluOp>(gelu);
}
