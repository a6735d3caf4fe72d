// Mixtures of experts (com.microsoft), plain and quantized.
#include "OpTable.h"
#include "Ops/QuantBuilder.h"

#include <limits>

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

// silu(gate) (linear + beta), limited; gate and linear are neighbours, or halves.
static Value swiGLU(Node &n, Value x) {
  int64_t fusion = n.intAttr("swiglu_fusion", 0);
  if (fusion != 1 && fusion != 2)
    return n.unsupported("with swiglu and swiglu_fusion 0", "join gate and linear weights"), Value();
  Dims dims = n.dims(x);
  int64_t pairs = n.staticDim(x, 2, "the width of experts") / 2;
  if (n.failed())
    return {};
  Value split = fusion == 1 ? n.reshape(x, {dims[0], dims[1], pairs, 2}) : Value();
  auto part = [&](int64_t i) {
    return fusion == 2 ? n.slice(x, 2, i * pairs, pairs)
                       : n.reshape(n.slice(split, 3, i, 1), {dims[0], dims[1], pairs});
  };
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

namespace {
struct Experts {
  Value tokens, logits; // [.., H], [T, E]
  Value shares;         // [T, E] instead of the softmax of the logits; may be null
  bool normalize;       // so that the shares of the k best sum up to 1
  Value up, upBias;     // [E, I, H], [E, I]; biases may be null
  Value down, downBias; // [E, H, I], [E, H]
};
} // namespace

/// Every expert computes every token, weighed by zero where it is not among the k
/// best: E / k times the arithmetic that routing would take, in products that run at
/// full speed.
static void mixExperts(Node &n, const Experts &e) {
  int64_t k = n.intAttr("k", 1);
  if (n.failed())
    return;
  if (n.boolAttr("use_sparse_mixer", false))
    return n.unsupported("with a sparse mixer", "export with the routing of softmax");
  Dims dims = n.dims(e.tokens);
  if (dims.empty() || n.rank(e.logits) != 2 || n.rank(e.up) != 3 || n.rank(e.down) != 3)
    return n.error("expected tokens, router logits of rank 2 and weights of rank 3");
  int64_t experts = n.staticDim(e.up, 0, "the number of experts");
  if (!n.failed() && (k < 1 || k > experts))
    return n.error("expected k in [1, " + llvm::Twine(experts) + "], but got " + llvm::Twine(k));
  mlir::Type i64 = n.b.getI64Type();
  SymExpr tokens = n.dims(e.logits)[0], count = product(llvm::ArrayRef<SymExpr>(dims).drop_back());
  n.require(tokens, count);
  n.require(count, tokens);
  Value chance = e.shares ? e.shares : n.create<SoftmaxOp>(e.logits, 1, /*log=*/false);
  Value best = n.create<ArgSortOp>(getTensorType({tokens, k}, i64), e.logits, 1, /*descending=*/true);
  Value number = n.iota(i64, {1, 1, experts}, 2);
  Value hits = n.compare(Predicate::EQ, n.reshape(best, {tokens, k, 1}), number);
  hits = n.reduce(ReduceKind::Max, n.cast(hits, i64), {1}, /*keepDims=*/false);
  Value share = n.mul(chance, n.cast(hits, n.elem(chance)));
  if (e.normalize)
    share = n.div(share, n.reduce(ReduceKind::Sum, share, {1}));
  auto perExpert = [&](Value bias) { return n.reshape(bias, {experts, 1, n.dims(bias).back()}); };
  Value hidden = n.create<MatMulOp>(n.reshape(e.tokens, {1, tokens, dims.back()}), n.swapLast(e.up));
  if (e.upBias && !n.failed())
    hidden = n.add(hidden, perExpert(e.upBias));
  if (n.failed())
    return;
  Value result = n.create<MatMulOp>(activateExperts(n, hidden), n.swapLast(e.down));
  if (e.downBias && !n.failed())
    result = n.add(result, perExpert(e.downBias));
  if (n.failed())
    return;
  result = n.mul(result, n.reshape(n.swapLast(share), {experts, tokens, 1}));
  n.out(n.reshape(n.reduce(ReduceKind::Sum, result, {0}, /*keepDims=*/false), dims));
}

// tokens, router logits, weights [E, I, H], bias, weights [E, H, I], bias, a third
// weight.
static void mixtureOfExperts(Node &n) {
  if (n.has(6))
    return n.unsupported("with a third weight", "export with activation_type=swiglu and swiglu_fusion 1");
  bool normalize = n.boolAttr("normalize_routing_weights", false);
  mixExperts(n, {n.in(0), n.in(1), Value(), normalize, n.in(2), n.opt(3), n.in(4), n.opt(5)});
}

/// Bytes [E, N, K bits / 8] and scales [E, N] or [E, N, blocks] as [E, N, K].
static Value dequantizeExperts(Node &n, Value packed, Value scales, Value zeros, llvm::StringRef bitsName) {
  int64_t bits = n.intAttr(bitsName, n.intAttr("expert_weight_bits", 4));
  if (!n.failed() && bits != 2 && bits != 4 && bits != 8)
    n.unsupported("with " + llvm::Twine(bits) + " bits", "2, 4 and 8 bits are supported");
  if (!n.failed() && (n.rank(packed) != 3 || !n.elem(packed).isInteger(8) || n.rank(scales) < 2 || n.rank(scales) > 3))
    n.error("expected bytes of weights [experts, rows, bytes] and scales [experts, rows] or [experts, rows, blocks]");
  int64_t experts = n.staticDim(packed, 0, "the number of experts"),
          rows = n.staticDim(packed, 1, "the rows of weights");
  int64_t width = n.staticDim(packed, 2, "the bytes of a row") * 8 / std::max<int64_t>(bits, 1);
  int64_t blocks = n.failed() || n.rank(scales) == 2 ? 1 : n.staticDim(scales, 2, "the blocks of a row");
  if (!n.failed() && (blocks < 1 || width % blocks))
    n.error("expected blocks that divide " + llvm::Twine(width) + ", but got " + llvm::Twine(blocks));
  if (n.failed())
    return {};
  mlir::Type byte = n.elem(packed);
  Value q = n.reshape(unpackBits(n, packed, bits), {experts, rows, blocks, width / blocks});
  Value zero;
  if (!zeros) {
    zero = n.scalar(byte, double(1 << (bits - 1)));
  } else { // packed along blocks, or along rows
    bool byBlock = n.rank(zeros) == 3;
    zero = unpackBits(n, zeros, bits);
    zero = n.slice(zero, byBlock ? 2 : 1, 0, byBlock ? blocks : rows);
    zero = n.reshape(zero, {experts, rows, blocks, 1});
  }
  Value scale = n.reshape(scales, {experts, rows, blocks, 1});
  return n.reshape(n.create<DequantizeOp>(q, scale, zero), {experts, rows, width});
}

// tokens, router logits, bytes, scales, bias of the first and the second weights, a
// third one, zero points (11, 12), router weights (14), what other formats need.
static void quantizedExperts(Node &n) {
  std::string type = n.stringAttr("quant_type", "int");
  if (type != "int")
    return n.unsupported("with quant_type '" + printable(type) + "'", "quantize with quant_type 'int'");
  if (n.intAttr("weights_prepacked", 0) > 0)
    return n.unsupported("with prepacked weights", "export with weights_prepacked 0");
  if (n.has(8) || n.has(9) || n.has(10))
    return n.unsupported("with a third weight", "export with activation_type=swiglu and swiglu_fusion 1");
  Value up = dequantizeExperts(n, n.in(2), n.in(3), n.opt(11), "fc1_expert_weight_bits");
  Value down = dequantizeExperts(n, n.in(5), n.in(6), n.opt(12), "fc2_expert_weight_bits");
  // ONNX Runtime on CPUs takes the softmax over the k best, whatever
  // normalize_routing_weights says.
  bool normalize = !n.has(14) || n.boolAttr("normalize_routing_weights", false);
  if (!n.failed())
    mixExperts(n, {n.in(0), n.in(1), n.opt(14), normalize, up, n.opt(4), down, n.opt(7)});
}

void onnx_import::addExpertOps(OpTable &t) {
  t.add(kMicrosoft, "MoE", mixtureOfExperts);
  t.add(kMicrosoft, "QMoE", quantizedExperts);
}
