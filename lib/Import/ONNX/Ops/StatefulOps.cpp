// Operators that carry a state from one part of a sequence to the next, and
// attention with subgraphs inside.
#include "OpTable.h"
#include "Ops/AttentionBuilder.h"

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
  if (n.failed())
    return;
  const SymExpr batch = n.dims(query)[0], length = n.dims(query)[1], groups(heads);
  const int64_t group = queryHeads / heads;
  SymExpr dk = n.quotient(n.dims(key)[2], groups, "the width of the key");
  SymExpr dv = n.quotient(n.dims(value)[2], groups, "the width of the value");
  mlir::Type f32 = n.b.getF32Type(), stateType = n.has(3) ? n.elem(n.in(3)) : n.elem(query);
  auto wide = [&](unsigned i, const Dims &dims, const llvm::Twine &what) {
    return n.has(i) ? n.cast(n.unify(n.in(i), dims, what), f32) : Value();
  };
  // Where the width is a symbol, decay and beta may be for a head or for more: they
  // are written out.
  auto perHead = [&](unsigned i, const SymExpr &parts, const SymExpr &wanted, const llvm::Twine &what) -> Value {
    Dims dims = n.has(i) ? n.dims(n.in(i)) : Dims();
    if (n.failed() || !n.has(i) || (dims.size() == 3 && dims[2].getConstant() && dk.getConstant()))
      return n.has(i) ? n.cast(n.in(i), f32) : Value();
    if (dims.size() != 3) {
      n.error("expected " + what + " of rank 3");
      return {};
    }
    SymExpr each = n.quotient(dims[2], parts, what);
    Value split = n.unify(n.reshape(n.in(i), {dims[0], dims[1], parts, each}), {batch, length, parts, each}, what);
    return n.cast(n.reshape(n.broadcast(split, {batch, length, parts, wanted}), {batch, length, parts * wanted}), f32);
  };
  double scale = n.floatAttr("scale", 0);
  Value queries = wide(0, {batch, length, SymExpr(queryHeads) * dk}, "the query");
  if (scale == 0 && !dk.getConstant()) {
    queries = n.mul(queries, inverseRoot(n, dk, f32));
    scale = 1;
  } else if (scale == 0) {
    scale = 1 / std::sqrt(static_cast<double>(*dk.getConstant()));
  }
  Value keys = wide(1, {batch, length, groups * dk}, "the key");
  Value values = wide(2, {batch, length, groups * dv}, "the value");
  Value past = wide(3, {batch, groups, dk, dv}, "the past state");
  Value decay = perHead(4, groups, dk, "the decay"), beta = perHead(5, 1, groups, "beta");
  if (n.failed())
    return;
  Value both = n.create<LinearAttentionOp>(queries, keys, values, past, decay, beta, heads, n.f64(scale));
  if (n.failed())
    return;
  Value rows = n.slice(both, 2, 0, length * SymExpr(group));
  rows = n.transpose(n.reshape(rows, {batch, heads, length, group, dv}), {0, 2, 1, 3, 4});
  n.out(0, n.cast(n.reshape(rows, {batch, length, SymExpr(queryHeads) * dv}), n.elem(query)));
  if (n.wants(1))
    n.out(1, n.cast(n.slice(both, 2, length * SymExpr(group), dk), stateType));
}

/// out[b, c, t] = sum over k of x[b, c, t + k] weight[c, 0, k]: a convolution of as
/// many groups as channels, which lm.conv needs as a number. Sums are made in f32.
static Value depthwise(Node &n, Value x, Value weight, Value bias) {
  Dims dims = n.dims(x);
  if (n.failed())
    return {};
  SymExpr kernel = n.dims(weight)[2], length = dims[2] - kernel + SymExpr(1);
  mlir::Type type = n.elem(x), wide = type.isF64() ? type : mlir::Type(n.b.getF32Type()), i64 = n.b.getI64Type();
  Value taps = n.unify(weight, {dims[1], SymExpr(1), kernel}, "the weight");
  Value places = n.add(n.iota(i64, {length, kernel}, 0), n.iota(i64, {length, kernel}, 1));
  Value products = n.mul(n.cast(n.create<GatherOp>(x, places, 2), wide), n.cast(taps, wide));
  Value sum = n.reduce(ReduceKind::Sum, products, {3}, false);
  if (bias)
    sum = n.add(sum, n.reshape(n.cast(n.unify(bias, {dims[1]}, "the bias"), wide), {dims[1], SymExpr(1)}));
  return n.cast(sum, type);
}

// Depthwise convolution of what came before and the input.
static void causalConv(Node &n) {
  Value x = n.in(0), weight = n.in(1), bias = n.opt(2), past = n.opt(3);
  std::string activation = n.stringAttr("activation", "none");
  if (activation != "none" && activation != "silu" && activation != "swish")
    return n.error("expected activation to be none, silu or swish, but got '" + printable(activation) + "'");
  if (!n.failed() && (n.rank(x) != 3 || n.rank(weight) != 3))
    n.error("expected input and weight of rank 3");
  if (n.failed())
    return;
  Dims dims = n.dims(x);
  SymExpr channels = n.dims(weight)[0], before = n.dims(weight)[2] - SymExpr(1);
  Value state = past ? past : n.filled(n.elem(x), 0, {dims[0], channels, before});
  if (!channels.getConstant())
    state = n.unify(state, {dims[0], dims[1], before}, "the past state");
  Value padded = before.isConstant(0) ? x : n.concat({state, x}, 2), result;
  if (std::optional<int64_t> groups = channels.getConstant())
    result = n.create<ConvOp>(padded, weight, bias, Ints{1}, Ints{0, 0}, Ints{1}, *groups);
  else
    result = depthwise(n, n.reshape(padded, {dims[0], dims[1], dims[2] + before}), weight, bias);
  if (activation != "none") {
    Value wide = n.cast(result, n.b.getF32Type());
    result = n.cast(n.mul(wide, n.create<SigmoidOp>(wide)), n.elem(x));
  }
  n.out(0, result);
  if (n.wants(1))
    n.out(1, n.slice(padded, 2, dims[2], before));
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
  Value result = results->front();
  bool fits = n.rank(result) == n.rank(x);
  for (auto [own, wanted] : llvm::zip(n.dims(result), n.dims(x)))
    fits &= own == wanted || !own.getConstant() || !wanted.getConstant();
  if (!fits) {
    n.error("expected " + name + " to keep the shape");
    return {};
  }
  return n.cast(n.unify(result, n.dims(x), "the result of " + name), n.elem(x));
}

static void flexAttention(Node &n) {
  Value query = n.in(0), key = n.in(1), value = n.in(2);
  if (!n.failed() && (n.rank(query) != 4 || n.rank(key) != 4 || n.rank(value) != 4))
    n.error("expected query, key and value of rank 4");
  if (n.failed())
    return;
  Dims dims = n.dims(query), keys = n.dims(key);
  std::optional<int64_t> heads = dims[1].getConstant(), kvHeads = keys[1].getConstant();
  if (heads && kvHeads && (*kvHeads < 1 || *heads % *kvHeads != 0))
    return n.error("expected a multiple of " + llvm::Twine(*kvHeads) + " query heads, but got " + llvm::Twine(*heads));
  if (!heads || !kvHeads || !dims[3].getConstant()) { // one name for each of their dimensions
    key = n.unify(key, {dims[0], keys[1], keys[2], dims[3]}, "the key");
    value = n.unify(value, {dims[0], keys[1], keys[2], n.dims(value)[3]}, "the value");
  }
  mlir::Type type = n.elem(query), wide = type.isF64() ? type : mlir::Type(n.b.getF32Type());
  if (n.attr("softmax_precision")) {
    std::string error;
    wide = onnx_import::getElementType(n.b.getContext(), n.intAttr("softmax_precision", 1), error);
    if (!wide || !llvm::isa<mlir::FloatType>(wide))
      return n.error("expected softmax_precision to be a floating-point type");
  }
  // Each side takes half of the scale, as ONNX defines it.
  Value half;
  if (n.attr("scale") || dims[3].getConstant()) {
    double scale =
        n.attr("scale") ? n.floatAttr("scale", 1) : 1 / std::sqrt(static_cast<double>(*dims[3].getConstant()));
    half = n.scalar(type, std::sqrt(static_cast<float>(scale)));
  } else {
    mlir::Type f64 = n.b.getF64Type();
    Value scale = n.cast(inverseRoot(n, dims[3], n.b.getF32Type()), f64);
    half = n.cast(n.create<SqrtOp>(scale), type);
  }
  Value scores = n.create<MatMulOp>(n.mul(query, half), n.swapLast(repeatHeads(n, n.mul(key, half), dims[1])));
  scores = modify(n, "score_mod", n.cast(scores, wide));
  if (n.failed())
    return;
  Value probabilities = modify(n, "prob_mod", n.create<SoftmaxOp>(scores, 3));
  n.out(n.cast(n.create<MatMulOp>(probabilities, n.cast(repeatHeads(n, value, dims[1]), wide)), type));
}

void onnx_import::addStatefulOps(OpTable &t) {
  t.add(kOnnx, "LinearAttention", linearAttention);
  t.add(kOnnx, "CausalConvWithState", causalConv);
  t.add("ai.onnx.preview", "FlexAttention", flexAttention);
}
