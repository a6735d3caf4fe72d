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
}
