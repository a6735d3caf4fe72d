// ONNX Runtime's own operators around attention: normalisations with residuals,
// embeddings, activations with bias, experts.
#include "OpTable.h"
#include "Ops/NormBuilder.h"

#include <limits>

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

static Value withBias(Node &n, Value x, Value bias) { return bias ? n.add(x, bias) : x; }

template <GeluKind kind> static void biasGelu(Node &n) {
  n.out(n.create<GeluOp>(kind, withBias(n, n.in(0), n.opt(1))));
}

// x sigmoid(alpha x)
static void quickGelu(Node &n) {
  double alpha = n.floatAttr("alpha", 1.702f);
  if (std::abs(alpha - 1.702) < 1e-6)
    return n.out(n.create<GeluOp>(GeluKind::Quick, n.in(0)));
  n.out(n.mul(n.in(0), n.create<SigmoidOp>(n.mul(n.in(0), alpha))));
}

static void gemmFastGelu(Node &n) {
  Value product = n.create<MatMulOp>(n.in(0), n.in(1));
  n.out(n.create<GeluOp>(GeluKind::Tanh, withBias(n, product, n.opt(2))));
}

// data + bias, and the residual, where there is one; inference keeps everything.
static void biasDropout(Node &n) {
  if (n.has(4)) {
    Ints training = n.constants(n.in(4), "input 'training_mode'");
    if (!training.empty() && training[0] != 0)
      return n.unsupported("in training mode", "export for inference");
  }
  n.out(withBias(n, n.add(n.in(0), n.in(1)), n.opt(2)));
}

static void bitmaskDropout(Node &n) { n.out(n.in(0)); }

static void biasSoftmax(Node &n) {
  Value x = n.in(0), bias = n.in(1);
  int64_t axis = n.axis(n.intAttr("axis", 1), n.rank(x));
  if (!n.boolAttr("is_inner_broadcast", true))
    return n.unsupported("with is_inner_broadcast=0");
  if (!n.failed() && axis != n.rank(x) - 1)
    return n.unsupported("over several dimensions");
  n.out(n.create<SoftmaxOp>(n.add(x, bias), axis, /*log=*/false));
}

// Outputs: result, mean, inverse deviation, sum.
template <NormKind kind> static void skipNorm(Node &n) {
  Value x = n.in(0);
  constexpr bool layer = kind == NormKind::Layer;
  Value beta = layer ? n.opt(3) : Value(), bias = n.opt(layer ? 4 : 3);
  Value sum = withBias(n, n.add(x, n.in(1)), bias);
  double epsilon = n.floatAttr("epsilon", layer ? 1e-12f : 1e-5f);
  n.out(0, buildNorm(n, kind, sum, n.in(2), beta, -1, epsilon));
  if (n.wants(3))
    n.out(3, sum);
}

// word[ids] + position[0..S) + segment[segments], normalised.
static void embedLayerNorm(Node &n) {
  Value ids = n.in(0), segments = n.opt(1), words = n.in(2), positions = n.in(3);
  Value segmentTable = n.opt(4), mask = n.opt(7), positionIds = n.opt(8);
  Dims dims = n.dims(ids), table = n.dims(positions);
  if (!n.failed() && (dims.size() != 2 || table.size() != 2))
    return n.error("expected ids [batch, sequence] and tables of rank 2");
  if (n.failed())
    return;
  Value sum = n.create<GatherOp>(words, ids, 0);
  if (positionIds) {
    sum = n.add(sum, n.create<GatherOp>(positions, positionIds, 0));
  } else {
    n.require(dims[1], table[0]);
    sum = n.add(sum, n.slice(positions, 0, 0, dims[1]));
  }
  if (segmentTable && segments)
    sum = n.add(sum, n.create<GatherOp>(segmentTable, segments, 0));
  n.out(0, buildNorm(n, NormKind::Layer, sum, n.in(5), n.in(6), -1, n.floatAttr("epsilon", 1e-12f)));
  mlir::Type i32 = n.b.getI32Type();
  if (n.wants(1)) // how many tokens of each row count
    n.out(1,
          mask ? n.reduce(ReduceKind::Sum, n.cast(mask, i32), {1}, /*keepDims=*/false) : n.filled(i32, 0, {dims[0]}));
  if (n.wants(2))
    n.out(2, sum);
}

// silu(gate) (linear + beta) of neighbours [gate, linear], limited.
static Value swiGLU(Node &n, Value x) {
  if (n.intAttr("swiglu_fusion", 0) != 1)
    return n.unsupported("with swiglu and swiglu_fusion other than 1", "interleave gate and linear weights"), Value();
  Dims dims = n.dims(x);
  int64_t pairs = n.staticDim(x, 2, "the width of experts") / 2;
  if (n.failed())
    return {};
  Value split = n.reshape(x, {dims[0], dims[1], pairs, 2});
  auto part = [&](int64_t i) { return n.reshape(n.slice(split, 3, i, 1), {dims[0], dims[1], pairs}); };
  Value gate = part(0), linear = part(1);
  double limit = n.floatAttr("swiglu_limit", std::numeric_limits<float>::infinity());
  if (limit < std::numeric_limits<float>::infinity()) {
    Value high = n.scalar(n.elem(x), limit);
    gate = n.create<ClipOp>(gate, Value(), high);
    linear = n.create<ClipOp>(linear, n.scalar(n.elem(x), -limit), high);
  }
  Value open = n.create<SigmoidOp>(n.mul(gate, n.floatAttr("activation_alpha", 1.0f)));
  return n.mul(n.mul(gate, open), n.add(linear, n.floatAttr("activation_beta", 0.0f)));
}

static Value activateExperts(Node &n, Value x) {
  std::string kind = n.stringAttr("activation_type", "relu");
  if (kind == "relu")
    return n.create<ReluOp>(x);
  if (kind == "gelu")
    return n.create<GeluOp>(GeluKind::Tanh, x);
  if (kind == "silu")
    return n.mul(x, n.create<SigmoidOp>(x));
  if (kind == "swiglu")
    return swiGLU(n, x);
  if (kind != "identity")
    n.error("expected activation_type to be relu, gelu, silu, swiglu or identity, but got '" + printable(kind) + "'");
  return x;
}

// tokens [.., H], router logits [T, E], weights [E, I, H], bias [E, I], weights
// [E, H, I], bias [E, H]. Every expert computes every token, weighed by zero where it
// is not among the k best: E / k times the arithmetic that routing would take, in
// products that run at full speed.
static void mixtureOfExperts(Node &n) {
  Value x = n.in(0), logits = n.in(1), up = n.in(2), down = n.in(4), upBias = n.opt(3), downBias = n.opt(5);
  int64_t k = n.intAttr("k", 1);
  if (n.failed())
    return;
  if (n.has(6) || n.boolAttr("use_sparse_mixer", false))
    return n.unsupported("with a third weight or a sparse mixer", "export with activation_type=swiglu");
  Dims dims = n.dims(x);
  if (dims.empty() || n.rank(logits) != 2 || n.rank(up) != 3 || n.rank(down) != 3)
    return n.error("expected tokens, router logits of rank 2 and weights of rank 3");
  int64_t experts = n.staticDim(up, 0, "the number of experts");
  if (!n.failed() && (k < 1 || k > experts))
    return n.error("expected k in [1, " + llvm::Twine(experts) + "], but got " + llvm::Twine(k));
  mlir::Type i64 = n.b.getI64Type();
  SymExpr tokens = n.dims(logits)[0], count = product(llvm::ArrayRef<SymExpr>(dims).drop_back());
  n.require(tokens, count);
  n.require(count, tokens);
  Value chance = n.create<SoftmaxOp>(logits, 1, /*log=*/false);
  Value best = n.create<ArgSortOp>(getTensorType({tokens, k}, i64), logits, 1, /*descending=*/true);
  Value number = n.iota(i64, {1, 1, experts}, 2);
  Value hits = n.compare(Predicate::EQ, n.reshape(best, {tokens, k, 1}), number);
  hits = n.reduce(ReduceKind::Max, n.cast(hits, i64), {1}, /*keepDims=*/false);
  Value share = n.mul(chance, n.cast(hits, n.elem(chance)));
  if (n.boolAttr("normalize_routing_weights", false))
    share = n.div(share, n.reduce(ReduceKind::Sum, share, {1}));
  auto perExpert = [&](Value bias) { return n.reshape(bias, {experts, 1, n.dims(bias).back()}); };
  Value hidden = n.create<MatMulOp>(n.reshape(x, {1, tokens, dims.back()}), n.swapLast(up));
  if (upBias && !n.failed())
    hidden = n.add(hidden, perExpert(upBias));
  if (n.failed())
    return;
  Value result = n.create<MatMulOp>(activateExperts(n, hidden), n.swapLast(down));
  if (downBias && !n.failed())
    result = n.add(result, perExpert(downBias));
  if (n.failed())
    return;
  result = n.mul(result, n.reshape(n.swapLast(share), {experts, tokens, 1}));
  n.out(n.reshape(n.reduce(ReduceKind::Sum, result, {0}, /*keepDims=*/false), dims));
}

void onnx_import::addContribOps(OpTable &t) {
  t.add(kMicrosoft, "Gelu", biasGelu<GeluKind::Erf>);
  t.add(kMicrosoft, "BiasGelu", biasGelu<GeluKind::Erf>);
  t.add(kMicrosoft, "FastGelu", biasGelu<GeluKind::Tanh>);
  t.add(kMicrosoft, "QuickGelu", quickGelu);
  t.add(kMicrosoft, "GemmFastGelu", gemmFastGelu);
  t.add(kMicrosoft, "BiasDropout", biasDropout);
  t.add(kMicrosoft, "BitmaskDropout", bitmaskDropout);
  t.add(kMicrosoft, "BiasSoftmax", biasSoftmax);
  t.add(kMicrosoft, "SkipLayerNormalization", skipNorm<NormKind::Layer>);
  t.add(kMicrosoft, "SkipSimplifiedLayerNormalization", skipNorm<NormKind::RMS>);
  t.add(kMicrosoft, "EmbedLayerNormalization", embedLayerNorm);
  t.add(kMicrosoft, "MoE", mixtureOfExperts);
}
