// Operators that carry a state from one part of a sequence to the next, and
// attention with subgraphs inside.
#include "OpTable.h"

#include <cmath>

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

// Computed in f32, whatever the types are.
static void linearAttention(Node &n) {
  Value query = n.in(0), key = n.in(1), value = n.in(2);
  int64_t queryHeads = n.intAttr("q_num_heads", 0), heads = n.intAttr("kv_num_heads", 0);
  std::string rule = n.stringAttr("update_rule", "gated_delta");
  bool gated = rule == "gated" || rule == "gated_delta", delta = rule == "delta" || rule == "gated_delta";
  if (!gated && !delta && rule != "linear")
    return n.error("expected update_rule to be linear, gated, delta or gated_delta, but got '" + printable(rule) + "'");
  if (gated != n.has(4) || delta != n.has(5))
    return n.error("expected input 'decay' with gated rules alone, and 'beta' with delta rules alone");
  if (heads < 1 || queryHeads < 1 || queryHeads % heads != 0)
    return n.error("expected q_num_heads to be a multiple of kv_num_heads, but got " + llvm::Twine(queryHeads) +
                   " and " + llvm::Twine(heads));
  if (!n.failed() && (n.rank(query) != 3 || n.rank(key) != 3 || n.rank(value) != 3))
    n.error("expected query, key and value of rank 3");
  int64_t queryWidth = n.staticDim(query, 2, "the width of the query");
  int64_t keyWidth = n.staticDim(key, 2, "the width of the key");
  int64_t valueWidth = n.staticDim(value, 2, "the width of the value");
  if (n.failed())
    return;
  int64_t dk = keyWidth / heads, dv = valueWidth / heads, group = queryHeads / heads;
  if (keyWidth % heads || valueWidth % heads || queryWidth != keyWidth * group)
    return n.error("expected widths of heads that agree");
  double scale = n.floatAttr("scale", 0);
  if (scale == 0)
    scale = 1 / std::sqrt(static_cast<double>(dk));
  mlir::Type f32 = n.b.getF32Type(), stateType = n.has(3) ? n.elem(n.in(3)) : n.elem(query);
  auto wide = [&](unsigned i) { return n.has(i) ? n.cast(n.in(i), f32) : Value(); };
  Value both = n.create<LinearAttentionOp>(wide(0), wide(1), wide(2), wide(3), wide(4), wide(5), heads, n.f64(scale));
  if (n.failed())
    return;
  SymExpr batch = n.dims(query)[0], length = n.dims(query)[1];
  Value rows = n.slice(both, 2, 0, length * SymExpr(group));
  rows = n.transpose(n.reshape(rows, {batch, heads, length, group, dv}), {0, 2, 1, 3, 4});
  n.out(0, n.cast(n.reshape(rows, {batch, length, queryHeads * dv}), n.elem(query)));
  if (n.wants(1))
    n.out(1, n.cast(n.slice(both, 2, length * SymExpr(group), dk), stateType));
}

// Depthwise convolution of what came before and the input.
static void causalConv(Node &n) {
  Value x = n.in(0), weight = n.in(1), bias = n.opt(2), past = n.opt(3);
  std::string activation = n.stringAttr("activation", "none");
  if (activation != "none" && activation != "silu" && activation != "swish")
    return n.error("expected activation to be none, silu or swish, but got '" + printable(activation) + "'");
  if (!n.failed() && (n.rank(x) != 3 || n.rank(weight) != 3))
    n.error("expected input and weight of rank 3");
  int64_t channels = n.staticDim(weight, 0, "the number of channels"), kernel = n.staticDim(weight, 2, "the kernel");
  if (n.failed())
    return;
  Dims dims = n.dims(x);
  Value before = past ? past : n.filled(n.elem(x), 0, {dims[0], channels, kernel - 1});
  Value padded = kernel > 1 ? n.concat({before, x}, 2) : x;
  Value result = n.create<ConvOp>(padded, weight, bias, Ints{1}, Ints{0, 0}, Ints{1}, channels);
  if (activation != "none") {
    Value wide = n.cast(result, n.b.getF32Type());
    result = n.cast(n.mul(wide, n.create<SigmoidOp>(wide)), n.elem(x));
  }
  n.out(0, result);
  if (n.wants(1))
    n.out(1, n.slice(padded, 2, dims[2], kernel - 1));
}

/// The scores (or probabilities) after a subgraph of one input and one output.
static Value modify(Node &n, llvm::StringRef name, Value x) {
  const onnx::AttributeProto *attribute = n.attr(name);
  if (!attribute || n.failed())
    return x;
  if (!attribute->has_g() || attribute->g().input_size() != 1 || attribute->g().output_size() != 1) {
    n.error("expected " + name + " to be a graph of one input and one output");
    return {};
  }
  auto results = n.importer.importSubgraph(attribute->g(), n.getScope(), {x});
  if (!results) {
    n.poison();
    return {};
  }
  if (n.dims(results->front()) != n.dims(x)) {
    n.error("expected " + name + " to keep the shape");
    return {};
  }
  return n.cast(results->front(), n.elem(x));
}

static void flexAttention(Node &n) {
  Value query = n.in(0), key = n.in(1), value = n.in(2);
  if (!n.failed() && (n.rank(query) != 4 || n.rank(key) != 4 || n.rank(value) != 4))
    n.error("expected query, key and value of rank 4");
  int64_t heads = n.staticDim(query, 1, "the number of heads"), kvHeads = n.staticDim(key, 1, "the number of heads");
  if (n.failed())
    return;
  if (kvHeads < 1 || heads % kvHeads != 0)
    return n.error("expected a multiple of " + llvm::Twine(kvHeads) + " query heads, but got " + llvm::Twine(heads));
  mlir::Type type = n.elem(query), wide = type.isF64() ? type : mlir::Type(n.b.getF32Type());
  if (n.attr("softmax_precision")) {
    std::string error;
    wide = onnx_import::getElementType(n.b.getContext(), n.intAttr("softmax_precision", 1), error);
    if (!wide || !llvm::isa<mlir::FloatType>(wide))
      return n.error("expected softmax_precision to be a floating-point type");
  }
  double scale = n.attr("scale") ? n.floatAttr("scale", 1)
                                 : 1 / std::sqrt(static_cast<double>(n.staticDim(query, 3, "the size of a head")));
  if (n.failed())
    return;
  auto repeat = [&](Value v) {
    Dims dims = n.dims(v), split{dims[0], kvHeads, 1, dims[2], dims[3]}, full = split;
    if (heads == kvHeads)
      return v;
    full[2] = heads / kvHeads;
    return n.reshape(n.broadcast(n.reshape(v, split), full), {dims[0], heads, dims[2], dims[3]});
  };
  // Each side takes half of the scale, as ONNX defines it.
  double half = std::sqrt(static_cast<float>(scale));
  Value scores = n.create<MatMulOp>(n.mul(query, half), n.swapLast(repeat(n.mul(key, half))));
  scores = modify(n, "score_mod", n.cast(scores, wide));
  if (n.failed())
    return;
  Value probabilities = modify(n, "prob_mod", n.create<SoftmaxOp>(scores, 3));
  n.out(n.cast(n.create<MatMulOp>(probabilities, n.cast(repeat(value), wide)), type));
}

void onnx_import::addStatefulOps(OpTable &t) {
  t.add(kOnnx, "LinearAttention", linearAttention);
  t.add(kOnnx, "CausalConvWithState", causalConv);
  t.add("ai.onnx.preview", "FlexAttention", flexAttention);
}
