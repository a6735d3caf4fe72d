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

namespace {
/// Operands of word[ids] + position[0..S) + segment[segments], normalised.
struct EmbedNorm {
  Value words, positions, segments; // tables; no segments: null
  Value scale, bias;
};
} // namespace

static void buildEmbedNorm(Node &n, const EmbedNorm &embed, Value positionIds) {
  Value ids = n.in(0), segments = n.opt(1), mask = n.opt(7);
  Dims dims = n.dims(ids), table = n.dims(embed.positions);
  if (!n.failed() && (dims.size() != 2 || table.size() != 2))
    return n.error("expected ids [batch, sequence] and tables of rank 2");
  if (n.failed())
    return;
  Value sum = n.create<GatherOp>(embed.words, ids, 0);
  if (positionIds) {
    sum = n.add(sum, n.create<GatherOp>(embed.positions, positionIds, 0));
  } else {
    n.require(dims[1], table[0]);
    sum = n.add(sum, n.slice(embed.positions, 0, 0, dims[1]));
  }
  if (embed.segments && segments)
    sum = n.add(sum, n.create<GatherOp>(embed.segments, segments, 0));
  n.out(0, buildNorm(n, NormKind::Layer, sum, embed.scale, embed.bias, -1, n.floatAttr("epsilon", 1e-12f)));
  mlir::Type i32 = n.b.getI32Type();
  if (n.wants(1)) // how many tokens of each row count
    n.out(1,
          mask ? n.reduce(ReduceKind::Sum, n.cast(mask, i32), {1}, /*keepDims=*/false) : n.filled(i32, 0, {dims[0]}));
  if (n.wants(2))
    n.out(2, sum);
}

static void embedLayerNorm(Node &n) { buildEmbedNorm(n, {n.in(2), n.in(3), n.opt(4), n.in(5), n.in(6)}, n.opt(8)); }

// Each constant comes as bytes with one scale and one zero point, the
// scale six inputs behind it, the zero point five behind that.
static void qEmbedLayerNorm(Node &n) {
  auto real = [&](unsigned i, unsigned scale) {
    if (!n.has(i))
      return Value();
    auto scalar = [&](Value value) { return n.reshape(value, {}); };
    return n.create<DequantizeOp>(n.in(i), scalar(n.in(scale)), scalar(n.in(scale + 5)));
  };
  Value words = real(2, 8), positions = real(3, 9), segments = real(4, 10), scale = real(5, 11), bias = real(6, 12);
  if (!n.failed())
    buildEmbedNorm(n, {words, positions, segments, scale, bias}, Value());
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
  t.add(kMicrosoft, "QEmbedLayerNormalization", qEmbedLayerNorm);
}
