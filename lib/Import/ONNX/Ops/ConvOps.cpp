// Convolution, of floats and of quantized tensors.
#include "Spatial.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// lm.conv of x with the attributes of the node.
static Value convolve(Node &n, Value x, Value weight, Value bias) {
  std::optional<Spatial> s = readSpatial(n, x, kernelOf(n, x, weight));
  if (!s)
    return {};
  Ints pads;
  bool numbers = true;
  for (const Dims *side : {&s->low, &s->high})
    for (const SymExpr &pad : *side) {
      numbers &= pad.getConstant().has_value();
      pads.push_back(pad.getConstant().value_or(0));
    }
  if (!numbers) { // auto_pad of a dimension that is a symbol
    Dims low(2, SymExpr(0)), high = low;
    low.append(s->low);
    high.append(s->high);
    x = padOrCut(n, x, low, high, n.scalar(n.elem(x), 0));
    pads.assign(pads.size(), 0);
  }
  int64_t groups = n.intAttr("group", 1);
  if (groups < 1) {
    n.error("expected a positive group");
    return {};
  }
  return n.create<ConvOp>(x, weight, bias, s->strides, pads, s->dilations, groups);
}

static void conv(Node &n) {
  Value x = n.in(0), weight = n.in(1);
  n.out(convolve(n, x, weight, n.opt(2)));
}

/// A parameter per output channel beside a weight [M, C, kernel...]; a scalar stays.
static Value perChannel(Node &n, Value v, int64_t rank) {
  Dims dims = n.dims(v);
  if (!v || n.failed() || product(dims).isConstant(1))
    return n.reshape(v, {});
  if (dims.size() != 1) {
    n.error("expected one number, or one per output channel");
    return {};
  }
  dims.resize(rank, SymExpr(1));
  return n.reshape(v, dims);
}

// (x - zero point) conv (weight - zero point), in 32 bits.
static void convInteger(Node &n) {
  Value x = n.in(0), weight = n.in(1), zeroX = n.opt(2), zeroW = n.opt(3);
  mlir::Type i32 = n.b.getI32Type();
  auto centered = [&](Value v, Value zero) {
    Value wide = n.cast(v, i32);
    return zero ? n.sub(wide, n.cast(perChannel(n, zero, n.rank(v)), i32)) : wide;
  };
  n.out(convolve(n, centered(x, zeroX), centered(weight, zeroW), Value()));
}

// The convolution of what the integers stand for, quantized again; a bias has the
// product of both scales.
static void qLinearConv(Node &n) {
  Value x = n.in(0), scaleX = n.in(1), zeroX = n.in(2), weight = n.in(3), scaleW = n.in(4), zeroW = n.in(5),
        scale = n.in(6), zero = n.in(7), bias = n.opt(8);
  scaleX = n.reshape(scaleX, {});
  Value scales = n.mul(scaleX, perChannel(n, scaleW, 1));
  if (bias)
    bias = n.create<DequantizeOp>(bias, scales, Value());
  Value wide = n.create<DequantizeOp>(x, scaleX, n.reshape(zeroX, {}));
  Value wideWeight =
      n.create<DequantizeOp>(weight, perChannel(n, scaleW, n.rank(weight)), perChannel(n, zeroW, n.rank(weight)));
  Value result = convolve(n, wide, wideWeight, bias);
  if (n.failed())
    return;
  n.out(n.create<QuantizeOp>(withElementType(result.getType(), n.elem(zero)), result, n.reshape(scale, {}),
                             n.reshape(zero, {}), /*narrow_range=*/false));
}

void onnx_import::addConvOps(OpTable &t) {
  t.add(kOnnx, "Conv", conv);
  t.add(kOnnx, "ConvInteger", convInteger);
  t.add(kOnnx, "QLinearConv", qLinearConv);
}
