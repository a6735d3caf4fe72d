// com.microsoft.GroupQueryAttention and PackedAttention: causal attention of
// generators with a length per row, and attention over rows without padding.
#include "OpTable.h"
#include "Ops/AttentionBuilder.h"

#include "mlir/IR/Matchers.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// A scalar i64 of a size.
static Value sizeOf(Node &n, const SymExpr &size) {
  return n.constant(getSymbolicAttr(mlir::RankedTensorType::get({}, n.b.getI64Type()), {size}));
}

namespace {
struct Group {
  Value query, key, value; // [B, S, N, D], [B, S, Nkv, D] twice
  int64_t heads, kvHeads;
  SymExpr batch, length;
  /// Of past and new positions in the longest row, where that is known.
  std::optional<SymExpr> total;
  Value start; // i64 [B]: how many positions of each row are past
};
} // namespace

/// A scalar operand that follows from the shapes of inputs.
static std::optional<SymExpr> knownSize(Value value) {
  mlir::Attribute attr;
  if (!value || !mlir::matchPattern(value, mlir::m_Constant(&attr)))
    return std::nullopt;
  auto symbolic = llvm::dyn_cast<SymValuesAttr>(attr);
  auto dense = llvm::dyn_cast<mlir::DenseIntElementsAttr>(attr);
  if (symbolic && getExprs(symbolic).size() == 1)
    return getExprs(symbolic).front();
  return dense && dense.getNumElements() == 1 ? std::optional(SymExpr((*dense.begin()).getSExtValue())) : std::nullopt;
}

static Value splitHeads(Node &n, Value x, int64_t heads) {
  Dims d = n.dims(x);
  if (!n.failed() && d.size() != 3)
    n.error("expected an operand [batch, sequence, hidden]");
  if (n.failed())
    return {};
  SymExpr size = n.quotient(d[2], heads, "the hidden size");
  return n.failed() ? Value() : n.reshape(x, {d[0], d[1], heads, size});
}

static Group readGroup(Node &n) {
  Group g;
  g.heads = n.intAttr("num_heads", 0);
  g.kvHeads = n.intAttr("kv_num_heads", 0);
  Value q = n.in(0), k = n.opt(1), v = n.opt(2), lengths = n.in(5);
  if (!n.failed() && (g.heads < 1 || g.kvHeads < 1 || g.heads % g.kvHeads || n.rank(q) != 3))
    n.error("expected a query [batch, sequence, hidden] and num_heads that is a multiple of kv_num_heads");
  if (n.failed())
    return g;
  if (!k) { // query, key and value in one
    SymExpr size = n.quotient(n.dims(q)[2], g.heads + 2 * g.kvHeads, "the packed hidden size");
    if (n.failed())
      return g;
    SymExpr own = SymExpr(g.heads) * size, kv = SymExpr(g.kvHeads) * size;
    v = n.slice(q, 2, own + kv, kv);
    k = n.slice(q, 2, own, kv);
    q = n.slice(q, 2, 0, own);
  }
  g.batch = n.dims(q)[0];
  g.length = n.dims(q)[1];
  g.query = splitHeads(n, q, g.heads);
  g.key = splitHeads(n, k, g.kvHeads);
  g.value = v ? splitHeads(n, v, g.kvHeads) : Value();
  Dims rows = n.dims(lengths);
  if (!n.failed() && (!g.value || rows.empty() || rows.size() > 2))
    n.error("expected a value, and one length per row");
  if (n.failed())
    return g;
  if (rows[0] != g.batch) {
    n.require(rows[0], g.batch);
    n.require(g.batch, rows[0]);
  }
  g.total = knownSize(n.opt(6));
  // seqlens_k is the last position; a prompt may be shorter than its row.
  mlir::Type i64 = n.b.getI64Type();
  Value last = n.cast(n.reshape(lengths, {g.batch}), i64);
  Value start = n.sub(n.add(last, n.scalar(i64, 1)), sizeOf(n, g.length));
  g.start = n.create<MaxOp>(start, n.scalar(i64, 0));
  return g;
}

/// Row b of the result, [B, N, T, D]: the first start[b] positions of the past, then
/// the new ones, then zeros, which are never attended to. T is P where the past is a
/// buffer with room for them all.
static Value append(Node &n, Value past, Value now, const Group &g, int64_t heads) {
  Value added = n.transpose(now, {0, 2, 1, 3});
  if (!past || n.failed())
    return added;
  Dims d = n.dims(past);
  if (d.size() != 4) {
    n.error("expected a past [batch, heads, length, size]");
    return {};
  }
  if (d[2].isConstant(0))
    return added;
  SymExpr both = d[2] + g.length, total = g.total ? SymExpr::max(d[2], *g.total) : both;
  Value all = n.concat({past, added}, 2);
  mlir::Type i64 = n.b.getI64Type();
  Value at = n.iota(i64, {1, 1, total, 1}, 2), start = n.reshape(g.start, {g.batch, 1, 1, 1});
  Value moved = n.add(n.sub(at, start), sizeOf(n, d[2]));
  Value index = n.select(n.compare(Predicate::LT, at, start), at, moved);
  index = n.create<MinOp>(index, n.sub(sizeOf(n, both), n.scalar(i64, 1)));
  Dims wide = {g.batch, heads, total, n.dims(all).size() == 4 ? n.dims(all)[3] : SymExpr(1)};
  Value rows = n.create<GatherElementsOp>(all, n.broadcast(index, wide), 2);
  Value isRow = n.compare(Predicate::LT, at, n.add(start, sizeOf(n, g.length)));
  return n.failed() ? Value() : n.select(isRow, rows, n.scalar(n.elem(rows), 0));
}

/// One score per head, [1, N, 1, 1], that takes its share of attention to nothing:
/// the head sinks, or 0 with smooth_softmax. Null without.
static Value sinksOf(Node &n, const Group &g, bool smooth) {
  mlir::Type type = n.elem(g.query);
  if (n.has(11))
    return n.reshape(n.cast(n.in(11), type), {1, g.heads, 1, 1});
  return smooth ? n.filled(type, 0, {1, g.heads, 1, 1}) : Value();
}

// query (or all three packed), key, value, past key, past value, last positions,
// total length, cos cache, sin cache, position ids, attention bias, head sinks.
static void groupQueryAttention(Node &n) {
  if (n.stringAttr("k_quant_type", "NONE") != "NONE" || n.stringAttr("v_quant_type", "NONE") != "NONE" || n.has(12) ||
      n.has(13))
    return n.unsupported("with a quantized cache", "export with a cache of floats");
  if (n.wants(3))
    return n.unsupported("with scores as an output", "export with qk_output 0");
  Group g = readGroup(n);
  if (n.failed())
    return;
  mlir::Type i64 = n.b.getI64Type();
  Value now = n.add(n.iota(i64, {1, g.length}, 1), n.reshape(g.start, {g.batch, 1}));
  if (n.boolAttr("do_rotary", false)) {
    Value ids = n.has(9) ? n.in(9) : now;
    auto table = [&](unsigned i) {
      Value rows = n.create<GatherOp>(n.in(i), ids, 0);
      Dims d = n.dims(rows);
      if (!n.failed() && d.size() != 3)
        n.error("expected caches [positions, half]");
      return n.failed() ? Value() : n.reshape(rows, {d[0], d[1], 1, d[2]});
    };
    Value cos = table(7), sin = table(8);
    if (n.failed())
      return;
    SymExpr width = SymExpr(2) * n.dims(cos)[3];
    bool interleaved = n.boolAttr("rotary_interleaved", false);
    g.query = rotate(n, g.query, cos, sin, width, interleaved);
    g.key = rotate(n, g.key, cos, sin, width, interleaved);
  }
  Value key = append(n, n.opt(3), g.key, g, g.kvHeads), value = append(n, n.opt(4), g.value, g, g.kvHeads);
  if (n.failed())
    return;
  n.out(1, key);
  n.out(2, value);
  AttentionParts p;
  p.query = n.reshape(g.query, {g.batch, g.length, SymExpr(g.heads) * n.dims(g.query)[3]});
  p.key = toTokens(n, key);
  p.value = toTokens(n, value);
  p.heads = g.heads;
  p.kvHeads = g.kvHeads;
  p.scale = n.floatAttr("scale", 0);
  p.additive = n.has(10) ? n.padRank(n.in(10), 4) : Value();
  p.fullyMasked = FullyMasked::Zero;
  if (n.failed())
    return;
  SymExpr keys = n.dims(key)[2];
  int64_t window = n.intAttr("local_window_size", -1);
  p.causal = keys == g.length && window < 0; // no past: every row starts at 0
  if (!p.causal) {
    Value column = n.iota(i64, {1, 1, 1, keys}, 3), row = n.reshape(now, {g.batch, 1, g.length, 1});
    p.keep = n.compare(Predicate::LE, column, row);
    if (window >= 0)
      p.keep = n.create<AndOp>(p.keep, n.compare(Predicate::LT, n.sub(row, n.scalar(i64, window)), column));
  }
  double cap = n.floatAttr("softcap", 0);
  bool smooth = n.boolAttr("smooth_softmax", false);
  n.out(0, cap != 0 || smooth || n.has(11) ? buildSpelledAttention(n, p, cap, sinksOf(n, g, smooth))
                                           : buildAttention(n, p));
}

/// Attention over tokens of all rows one after another, [1, T, H]; `ends` are the
/// cumulated lengths [B + 1]. A token attends to those of its row. The result is [T, Hv].
static void attendPacked(Node &n, AttentionParts p, Value ends) {
  if (!n.failed() && n.rank(ends) != 1)
    n.error("expected cumulated lengths of rank 1");
  if (n.failed())
    return;
  SymExpr tokens = n.dims(p.query)[1];
  p.heads = p.kvHeads = n.intAttr("num_heads", 0);
  p.scale = n.floatAttr("scale", 0);
  p.fullyMasked = FullyMasked::Zero;
  // The number of rows that begin at or before a token names its row.
  mlir::Type i64 = n.b.getI64Type();
  Value begins =
      n.compare(Predicate::LE, n.reshape(n.cast(ends, i64), {1, n.dims(ends)[0]}), n.iota(i64, {tokens, 1}, 0));
  Value row = n.reduce(ReduceKind::Sum, n.cast(begins, i64), {1}, /*keepDims=*/false);
  p.keep = n.compare(Predicate::EQ, n.reshape(row, {1, 1, tokens, 1}), n.reshape(row, {1, 1, 1, tokens}));
  Value result = buildAttention(n, p);
  n.out(n.failed() ? Value() : n.reshape(result, {tokens, n.dims(result)[2]}));
}

// input [T, H], weight [H, 3H'], bias, token offsets, cumulated lengths [B + 1],
// attention bias.
static void packedAttention(Node &n) {
  Value x = n.in(0), weight = n.in(1), bias = n.opt(2);
  if (n.has(5))
    return n.unsupported("with an attention bias");
  if (!n.failed() && (n.rank(x) != 2 || n.rank(weight) != 2))
    return n.error("expected an input [tokens, hidden] and a weight of rank 2");
  if (n.failed())
    return;
  SymExpr total = n.dims(weight)[1];
  Dims sizes = jointSizes(n, total);
  Value all = n.create<MatMulOp>(x, weight);
  if (bias)
    all = n.add(all, bias);
  if (n.failed())
    return;
  all = n.reshape(all, {1, n.dims(x)[0], total});
  AttentionParts p;
  p.query = n.slice(all, 2, 0, sizes[0]);
  p.key = n.slice(all, 2, sizes[0], sizes[1]);
  p.value = n.slice(all, 2, sizes[0] + sizes[1], sizes[2]);
  attendPacked(n, p, n.in(4));
}

// query [T, H] or all three [T, N, 3, D], key, value, bias [H + H + Hv], token offsets,
// cumulated lengths [B + 1], attention bias.
static void packedMultiHeadAttention(Node &n) {
  Value query = n.in(0), key = n.opt(1), value = n.opt(2), bias = n.opt(3);
  if (n.has(6))
    return n.unsupported("with an attention bias");
  Dims d = n.dims(query);
  bool joint = d.size() == 4;
  if (!n.failed() && joint)
    n.requireEqual(d[2], 3, "the number of projections");
  if (!n.failed() && !joint && (d.size() != 2 || !key || !value || n.rank(key) != 2 || n.rank(value) != 2))
    n.error("expected query, key and value [tokens, hidden], or all in one [tokens, heads, 3, size]");
  if (n.failed())
    return;
  auto part = [&](Value v, int64_t i) {
    if (joint)
      v = n.reshape(n.slice(query, 2, i, 1), {d[0], d[1] * d[3]});
    return n.failed() ? Value() : n.reshape(v, {1, d[0], n.dims(v)[1]});
  };
  AttentionParts p;
  p.query = part(query, 0);
  p.key = part(key, 1);
  p.value = part(value, 2);
  if (bias) {
    SymExpr q = n.dims(p.query)[2], v = n.dims(p.value)[2];
    p.query = n.add(p.query, n.slice(bias, 0, 0, q));
    p.key = n.add(p.key, n.slice(bias, 0, q, q));
    p.value = n.add(p.value, n.slice(bias, 0, q + q, v));
  }
  attendPacked(n, p, n.in(5));
}

void onnx_import::addGroupQueryOps(OpTable &t) {
  t.add(kMicrosoft, "GroupQueryAttention", groupQueryAttention);
  t.add(kMicrosoft, "PackedAttention", packedAttention);
  t.add(kMicrosoft, "PackedMultiHeadAttention", packedMultiHeadAttention);
}
