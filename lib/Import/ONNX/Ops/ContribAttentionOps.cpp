// Attention as ONNX Runtime's transformer optimizer writes it. Its masks add
// `mask_filter_value` (-10000 by default) to scores instead of leaving keys out;
// that is kept, since it decides what fully masked rows give.
#include "OpTable.h"
#include "Ops/AttentionBuilder.h"
#include "Ops/QuantBuilder.h"

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// `filter` where `keep` is false, else 0.
static Value filtered(Node &n, Value keep, mlir::Type type, double filter) {
  return n.select(keep, n.scalar(type, 0), n.scalar(type, filter));
}

/// The additive form of a mask of 0 and 1 or of lengths. Null without a mask. query
/// and key are [batch, length, hidden].
static Value readMask(Node &n, Value mask, Value query, Value key) {
  if (!mask || n.failed())
    return {};
  mlir::Type type = n.elem(query);
  const SymExpr batch = n.dims(query)[0], queries = n.dims(query)[1], keys = n.dims(key)[1];
  double filter = n.floatAttr("mask_filter_value", -10000.0f);
  Dims d = n.dims(mask);
  auto wherePositive = [&](Value v) {
    return filtered(n, n.compare(Predicate::GT, v, n.scalar(n.elem(v), 0)), type, filter);
  };
  if (d.size() == 2)
    return wherePositive(n.reshape(mask, {d[0], 1, 1, d[1]}));
  if (d.size() == 3)
    return wherePositive(n.reshape(mask, {d[0], 1, d[1], d[2]}));
  if (d.size() == 4 && d[1].isConstant(1)) // [batch, 1, longest, longest]: its last rows
    return wherePositive(n.slice(n.slice(mask, 2, keys - queries, queries), 3, 0, keys));
  if (d.size() == 1 && d[0].getSymbol() && d[0] != batch) { // a name of its own, for the batch
    n.require(d[0], batch);
    n.require(batch, d[0]);
    return filtered(n, keysBelow(n, n.reshape(mask, {batch}), keys), type, filter);
  }
  if (d.size() == 1 && (d[0] == batch || d[0].isConstant(1)))
    return filtered(n, keysBelow(n, mask, keys), type, filter);
  if (d.size() == 1 && d[0] == batch * SymExpr(2)) { // ends, then starts
    Value below = keysBelow(n, n.slice(mask, 0, 0, batch), keys);
    Value before = keysBelow(n, n.slice(mask, 0, batch, batch), keys);
    return filtered(n, n.create<AndOp>(below, n.create<NotOp>(before)), type, filter);
  }
  std::string text;
  for (const SymExpr &dim : d)
    text += (text.empty() ? "" : ", ") + dim.str();
  n.unsupported("with a mask of shape [" + text + "]", "export the mask as [batch, keys] of 0 and 1");
  return {};
}

static Value joinMasks(Node &n, Value mask, Value bias) {
  if (!bias)
    return mask;
  Value wide = n.padRank(bias, 4);
  return mask ? n.add(mask, wide) : wide;
}

/// Appends to the past and gives it to output `i`. x is [B, T, N D].
static Value extendPast(Node &n, Value past, Value x, int64_t heads, Value &present) {
  Value now = toHeads(n, x, heads);
  present = past ? n.concat({past, now}, 2) : now;
  return past ? toTokens(n, present) : x;
}

/// Attention on a joint projection `all` [B, S, 3H'], of input 1's width. past is
/// [2, B, N, P, D]; outputs: result, present.
static void attendJoint(Node &n, Value all, Value maskInput, Value past, Value attentionBias) {
  if (n.boolAttr("do_rotary", false) || n.boolAttr("past_present_share_buffer", false))
    return n.unsupported("with rotary embeddings or a shared past buffer");
  if (!n.failed() && n.rank(all) != 3)
    n.error("expected a projection [batch, sequence, width]");
  if (n.failed())
    return;
  Dims sizes = jointSizes(n, n.dims(all)[2]);
  if (n.failed())
    return;
  AttentionParts p;
  p.heads = p.kvHeads = n.intAttr("num_heads", 0);
  p.query = n.slice(all, 2, 0, sizes[0]);
  p.key = n.slice(all, 2, sizes[0], sizes[1]);
  p.value = n.slice(all, 2, sizes[0] + sizes[1], sizes[2]);
  if (past || n.wants(1)) {
    auto half = [&](int64_t i) -> Value {
      Dims d = n.dims(past);
      if (!past)
        return {};
      if (d.size() != 5)
        n.error("expected a past [2, batch, heads, length, size]");
      else
        n.requireEqual(d[0], 2, "a past");
      return n.failed() ? Value() : n.reshape(n.slice(past, 0, i, 1), {d[1], d[2], d[3], d[4]});
    };
    Value keys, values;
    p.key = extendPast(n, half(0), p.key, p.heads, keys);
    p.value = extendPast(n, half(1), p.value, p.kvHeads, values);
    if (n.failed())
      return;
    auto stacked = [&](Value v) {
      Dims d = n.dims(v);
      d.insert(d.begin(), SymExpr(1));
      return n.reshape(v, d);
    };
    n.out(1, n.concat({stacked(keys), stacked(values)}, 0));
  }
  if (n.failed())
    return;
  p.scale = n.floatAttr("scale", 0);
  Value mask = readMask(n, maskInput, p.query, p.key);
  p.additive = joinMasks(n, mask, attentionBias);
  p.causal = n.boolAttr("unidirectional", false);
  p.fullyMasked = FullyMasked::Source;
  n.out(0, buildAttention(n, p));
}

// input [B, S, H], weight [H, 3H'], bias [3H'], mask, past, attention bias.
static void attention(Node &n) {
  if (!n.failed() && n.rank(n.in(0)) != 3)
    return n.error("expected an input [batch, sequence, hidden]");
  Value all = n.create<MatMulOp>(n.in(0), n.in(1));
  attendJoint(n, n.has(2) ? n.add(all, n.in(2)) : all, n.opt(3), n.opt(4), n.opt(5));
}

// The same on integers: input, weight, bias, input scale, weight scale (per tensor
// or column), mask, input zero point, weight zero point, past.
static void qAttention(Node &n) {
  Value x = n.in(0), weight = n.in(1);
  auto flat = [&](Value v) { return v && n.rank(v) == 1 && n.dims(v)[0].isConstant(1) ? n.reshape(v, {}) : v; };
  if (!n.failed() && n.rank(x) != 3)
    return n.error("expected an input [batch, sequence, hidden]");
  Value product = integerProduct(n, x, flat(n.opt(6)), weight, flat(n.opt(7)));
  Value scale = n.mul(flat(n.in(3)), flat(n.in(4)));
  if (n.failed())
    return;
  Value all = n.mul(n.cast(product, n.elem(scale)), scale);
  attendJoint(n, n.has(2) ? n.add(all, n.in(2)) : all, n.opt(5), n.opt(8), Value());
}

/// Parts of a packed projection [B, S, N, parts, D] as [B, S, N D].
static Value unpacked(Node &n, Value x, int64_t part) {
  Dims d = n.dims(x);
  if (n.failed() || d.size() != 5)
    return {};
  return n.reshape(n.slice(x, 3, part, 1), {d[0], d[1], d[2] * d[4]});
}

// query, key, value, bias [H + H + Hv], key padding mask, attention bias, past key,
// past value; outputs: result, present key, present value.
static void multiHeadAttention(Node &n) {
  Value query = n.in(0), key = n.opt(1), value = n.opt(2), bias = n.opt(3);
  AttentionParts p;
  p.heads = p.kvHeads = n.intAttr("num_heads", 0);
  bool ready = false; // key and value come in heads [B, N, T, D], bias and all
  if (n.rank(query) == 5) {
    p.query = unpacked(n, query, 0);
    p.key = unpacked(n, query, 1);
    p.value = unpacked(n, query, 2);
  } else if (key && n.rank(key) == 5) {
    p.query = query;
    p.key = unpacked(n, key, 0);
    p.value = unpacked(n, key, 1);
  } else if (key && value) {
    ready = n.rank(key) == 4;
    p.query = query;
    p.key = ready ? toTokens(n, key) : key;
    p.value = ready ? toTokens(n, value) : value;
  } else {
    return n.error("expected a key and a value");
  }
  if (!n.failed() && (n.rank(p.query) != 3 || n.rank(p.key) != 3 || n.rank(p.value) != 3))
    return n.error("expected query, key and value [batch, sequence, hidden]");
  if (bias && !n.failed()) {
    SymExpr q = n.dims(p.query)[2], k = n.dims(p.key)[2], v = n.dims(p.value)[2];
    p.query = n.add(p.query, n.slice(bias, 0, 0, q));
    if (!ready) {
      p.key = n.add(p.key, n.slice(bias, 0, q, k));
      p.value = n.add(p.value, n.slice(bias, 0, q + k, v));
    }
  }
  if (n.has(6) || n.has(7) || n.wants(1) || n.wants(2)) {
    Value keys, values;
    p.key = extendPast(n, n.opt(6), p.key, p.heads, keys);
    p.value = extendPast(n, n.opt(7), p.value, p.heads, values);
    n.out(1, keys);
    n.out(2, values);
  }
  if (n.failed())
    return;
  p.scale = n.floatAttr("scale", 0);
  Value mask = readMask(n, n.opt(4), p.query, p.key);
  p.additive = joinMasks(n, mask, n.opt(5));
  p.causal = n.boolAttr("unidirectional", false);
  p.fullyMasked = FullyMasked::Source;
  n.out(0, buildAttention(n, p));
}

void onnx_import::addContribAttentionOps(OpTable &t) {
  t.add(kMicrosoft, "Attention", attention);
  t.add(kMicrosoft, "MultiHeadAttention", multiHeadAttention);
  t.add(kMicrosoft, "QAttention", qAttention);
}
