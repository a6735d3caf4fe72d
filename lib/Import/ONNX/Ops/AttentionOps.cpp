// Attention and rotary embeddings of ai.onnx (opset 23 and later).
#include "OpTable.h"
#include "Ops/AttentionBuilder.h"
#include "Spatial.h"

#include <limits>

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

//===- Building lm.attention -------------------------------------------------------===//

Value onnx_import::toHeads(Node &n, Value x, int64_t heads) {
  Dims dims = n.dims(x);
  if (!n.failed() && (dims.size() != 3 || heads < 1))
    n.error("expected an operand [batch, sequence, hidden] and a positive number of heads");
  if (n.failed())
    return {};
  SymExpr size = n.quotient(dims[2], heads, "the hidden size");
  return n.failed() ? Value() : n.transpose(n.reshape(x, {dims[0], dims[1], heads, size}), {0, 2, 1, 3});
}

Value onnx_import::toTokens(Node &n, Value x) {
  Dims dims = n.dims(x);
  if (n.failed() || dims.size() != 4)
    return {};
  return n.reshape(n.transpose(x, {0, 2, 1, 3}), {dims[0], dims[2], dims[1] * dims[3]});
}

Dims onnx_import::jointSizes(Node &n, const SymExpr &total) {
  Ints given = n.intsAttr("qkv_hidden_sizes").value_or(Ints());
  Dims sizes(given.begin(), given.end());
  if (sizes.empty()) {
    std::optional<int64_t> known = total.getConstant();
    sizes.assign(3, known ? SymExpr(*known / 3) : n.quotient(total, 3, "the width of the projection"));
  }
  bool fits = sizes.size() == 3;
  SymExpr sum(0);
  for (const SymExpr &size : sizes) {
    fits &= size.getConstant().value_or(1) >= 1;
    sum += size;
  }
  if (!n.failed() && (!fits || (sum - total).getConstant().value_or(0) != 0))
    n.error("expected three hidden sizes that sum to " + total.str());
  if (!n.failed())
    n.requireEqual(sum, total, "hidden sizes");
  return sizes;
}

Value onnx_import::keysBelow(Node &n, Value lengths, const SymExpr &keys) {
  Dims batch = n.dims(lengths);
  if (n.failed() || batch.size() != 1)
    return {};
  mlir::Type i64 = n.b.getI64Type();
  Value index = n.iota(i64, {1, 1, 1, keys}, 3);
  return n.compare(Predicate::LT, index, n.reshape(n.cast(lengths, i64), {batch[0], 1, 1, 1}));
}

Value onnx_import::causalMask(Node &n, const SymExpr &queries, const SymExpr &keys, const SymExpr &offset) {
  mlir::Type i64 = n.b.getI64Type();
  Value row = n.iota(i64, {1, 1, queries, 1}, 2), column = n.iota(i64, {1, 1, 1, keys}, 3);
  if (!offset.isConstant(0)) {
    auto type = mlir::RankedTensorType::get({}, i64);
    row = n.add(row, n.constant(getSymbolicAttr(type, {offset})));
  }
  return n.compare(Predicate::LE, column, row);
}

static bool isNumber(Node &n, Value x, unsigned i) {
  Dims dims = n.dims(x);
  return i < dims.size() && dims[i].getConstant();
}

/// The same from matrix products. What the operators demand of shapes is noted.
static Value buildSpelled(Node &n, const AttentionParts &p) {
  if (p.heads < 1 || p.kvHeads < 1)
    n.error("expected positive numbers of heads, but got " + llvm::Twine(p.heads) + " and " + llvm::Twine(p.kvHeads));
  SpelledParts s;
  s.query = toHeads(n, p.query, p.heads);
  s.key = toHeads(n, p.key, p.kvHeads);
  s.value = toHeads(n, p.value, p.kvHeads);
  if (n.failed())
    return {};
  Dims q = n.dims(s.query), k = n.dims(s.key), v = n.dims(s.value);
  s.key = n.unify(s.key, {q[0], k[1], k[2], q[3]}, "the key");
  s.value = n.unify(s.value, {q[0], k[1], k[2], v[3]}, "the value");
  s.scale = p.scale;
  s.additive = p.additive;
  s.keep = p.keep;
  s.causal = p.causal;
  s.fullyMasked = p.fullyMasked;
  return toTokens(n, spellOut(n, s).result);
}

Value onnx_import::buildAttention(Node &n, AttentionParts p) {
  if (!n.failed() && !(isNumber(n, p.query, 2) && isNumber(n, p.key, 2) && isNumber(n, p.value, 2)))
    return buildSpelled(n, p);
  int64_t hidden = n.staticDim(p.query, 2, "the hidden size");
  if (!n.failed() && (p.heads < 1 || p.kvHeads < 1 || hidden % p.heads))
    n.error("expected a number of heads that divides " + llvm::Twine(hidden) + ", but got " + llvm::Twine(p.heads));
  if (n.failed())
    return {};
  double scale = p.scale != 0 ? p.scale : 1.0 / std::sqrt(static_cast<double>(hidden / p.heads));
  mlir::Type type = n.elem(p.query);
  Value mask;
  MaskKind kind = MaskKind::None;
  if (p.additive) {
    mask = asAdditive(n, n.cast(p.additive, type), p.keep, type);
    kind = MaskKind::Additive;
  } else if (p.keep) {
    mask = p.keep;
    kind = MaskKind::Boolean;
  }
  return n.create<AttentionOp>(p.query, p.key, p.value, mask, p.heads, p.kvHeads, n.f64(scale), kind, p.causal,
                               p.fullyMasked);
}

Value onnx_import::buildSpelledAttention(Node &n, const AttentionParts &p, double cap, Value sinks) {
  Value query = toHeads(n, p.query, p.heads), key = toHeads(n, p.key, p.kvHeads),
        value = toHeads(n, p.value, p.kvHeads);
  key = repeatHeads(n, key, p.heads);
  value = repeatHeads(n, value, p.heads);
  if (n.failed())
    return {};
  mlir::Type type = n.elem(query);
  Dims q = n.dims(query), k = n.dims(key);
  Value scores = n.create<MatMulOp>(query, n.swapLast(key));
  scores = p.scale != 0 ? n.mul(scores, p.scale) : n.mul(scores, inverseRoot(n, q[3], type));
  if (cap != 0)
    scores = n.mul(n.create<TanhOp>(n.div(scores, n.scalar(type, cap))), cap);
  Value keep = p.causal ? bothMasks(n, p.keep, causalMask(n, q[2], k[2], k[2] - q[2])) : p.keep;
  Value additive = asAdditive(n, p.additive ? n.cast(p.additive, type) : Value(), keep, type);
  if (additive)
    scores = n.add(scores, additive);
  if (sinks && !n.failed())
    scores = n.concat({scores, n.broadcast(sinks, {q[0], q[1], q[2], 1})}, 3);
  Value weights = n.create<SoftmaxOp>(scores, 3, false);
  if (sinks)
    weights = n.slice(weights, 3, 0, k[2]);
  else if (additive)
    weights = n.select(n.create<IsNaNOp>(weights), n.scalar(type, 0), weights);
  return toTokens(n, n.create<MatMulOp>(weights, value));
}

//===- ai.onnx.Attention -------------------------------------------------------------===//

namespace {

/// The node's operands in head-major form, past included.
struct Operands {
  Value query, key, value; // [B, N, S, D], [B, Nkv, T, D], [B, Nkv, T, Dv]
  bool tokenMajor = false; // whether they came as [B, S, N D]
  bool symbolic = false;   // whether some number of heads or width is a symbol
  SymExpr past = 0;
};

Operands readOperands(Node &n) {
  Operands o;
  Value q = n.in(0), k = n.in(1), v = n.in(2);
  o.tokenMajor = n.rank(q) == 3;
  if (o.tokenMajor) {
    int64_t heads = n.intAttr("q_num_heads", 0), kvHeads = n.intAttr("kv_num_heads", 0);
    q = toHeads(n, q, heads);
    k = toHeads(n, k, kvHeads);
    v = toHeads(n, v, kvHeads);
  }
  if (!n.failed() && (n.rank(q) != 4 || n.rank(k) != 4 || n.rank(v) != 4))
    n.error("expected query, key and value of one rank, 3 or 4");
  if (n.has(4) && n.has(5) && !n.failed()) {
    Dims past = n.dims(n.in(4));
    o.past = past.size() == 4 ? past[2] : SymExpr::unknown();
    k = n.concat({n.in(4), k}, 2);
    v = n.concat({n.in(5), v}, 2);
  }
  for (Value x : {q, k, v})
    o.symbolic |= !n.failed() && !(isNumber(n, x, 1) && isNumber(n, x, 3));
  if (o.symbolic) { // one name for each of their dimensions
    Dims query = n.dims(q), key = n.dims(k);
    k = n.unify(k, {query[0], key[1], key[2], query[3]}, "the key");
    v = n.unify(v, {query[0], key[1], key[2], n.dims(v)[3]}, "the value");
  }
  o.query = q;
  o.key = k;
  o.value = v;
  return o;
}

/// mask [B, N, S, M] with -inf, or false, for the keys from M on: it may be shorter
/// than the T keys. A mask of one column is for all of them.
Value lengthened(Node &n, Value mask, const SymExpr &keys) {
  Dims dims = n.dims(mask);
  if (n.failed() || dims.size() != 4 || dims[3].getConstant() || dims[3] == keys)
    return mask;
  mlir::Type i64 = n.b.getI64Type();
  n.require(dims[3], keys);
  Value column = n.iota(i64, {keys}, 0), size = sizeScalar(n, dims[3]), last = n.sub(size, n.scalar(i64, 1));
  Value inside =
      n.create<OrOp>(n.compare(Predicate::LT, column, size), n.compare(Predicate::EQ, last, n.scalar(i64, 0)));
  Value wide = n.create<GatherOp>(mask, n.create<MinOp>(column, last), 3);
  bool isBool = n.elem(mask).isInteger(1);
  if (isBool)
    return n.create<AndOp>(wide, inside);
  return n.select(inside, wide, n.scalar(n.elem(mask), -std::numeric_limits<double>::infinity()));
}

/// Where attention is allowed and what is added, from all sources.
struct Masks {
  Value additive, keep;
  bool causal = false; // as lm.attention has it: j <= i + T - S
};

Masks readMasks(Node &n, const Operands &o) {
  Masks masks;
  Dims q = n.dims(o.query), k = n.dims(o.key);
  if (n.failed())
    return masks;
  const SymExpr queries = q[2], keys = k[2];
  if (Value mask = n.opt(3)) {
    bool isBool = n.elem(mask).isInteger(1);
    Value wide = n.padRank(mask, 4);
    if (o.symbolic)
      wide = lengthened(n, wide, keys);
    // A shorter mask leaves the keys behind it out.
    Dims dims = n.dims(wide);
    std::optional<int64_t> missing =
        dims.size() == 4 && !dims[3].isConstant(1) ? (keys - dims[3]).getConstant() : std::nullopt;
    if (missing && *missing > 0) {
      Dims low(4, SymExpr(0)), high(4, SymExpr(0));
      high[3] = *missing;
      dims[3] = keys;
      Value fill = n.scalar(n.elem(mask), isBool ? 0 : -std::numeric_limits<double>::infinity());
      mlir::MLIRContext *context = n.b.getContext();
      wide = n.create<PadOp>(getTensorType(dims, n.elem(mask)), wide, fill, getSymValues(context, low),
                             getSymValues(context, high));
    }
    (isBool ? masks.keep : masks.additive) = wide;
  }
  Value lengths = n.opt(6);
  if (lengths && o.symbolic)
    lengths = n.unify(lengths, {q[0]}, "the numbers of keys");
  if (lengths)
    masks.keep = bothMasks(n, masks.keep, keysBelow(n, lengths, keys));
  mlir::Type i64 = n.b.getI64Type();
  int64_t left = n.intAttr("left_window_size", -1), right = n.intAttr("right_window_size", -1);
  bool causal = n.boolAttr("is_causal", false);
  if (causal)
    right = 0;
  if (left < 0 && right < 0)
    return masks;
  if (causal && left < 0 && !lengths && o.past + queries == keys) {
    masks.causal = true;
    return masks;
  }
  // Position of query i among the keys: i + offset.
  Value row = n.iota(i64, {1, 1, queries, 1}, 2), column = n.iota(i64, {1, 1, 1, keys}, 3);
  if (lengths && n.opset() >= 24 && !n.failed()) {
    auto type = mlir::RankedTensorType::get({}, i64);
    Value first = n.sub(n.cast(lengths, i64), n.constant(getSymbolicAttr(type, {queries})));
    row = n.add(row, n.reshape(first, {n.dims(lengths)[0], 1, 1, 1}));
  } else if (!o.past.isConstant(0)) {
    auto type = mlir::RankedTensorType::get({}, i64);
    row = n.add(row, n.constant(getSymbolicAttr(type, {o.past})));
  }
  if (right >= 0) {
    Value last = right ? n.add(row, static_cast<double>(right)) : row;
    masks.keep = bothMasks(n, masks.keep, n.compare(Predicate::LE, column, last));
  }
  if (left >= 0)
    masks.keep = bothMasks(n, masks.keep, n.compare(Predicate::GE, column, n.add(row, -static_cast<double>(left))));
  return masks;
}

} // namespace

static void spelledOut(Node &n, const Operands &o, const Masks &masks) {
  SpelledParts parts;
  parts.query = o.query;
  parts.key = o.key;
  parts.value = o.value;
  parts.scale = n.floatAttr("scale", 0);
  parts.cap = n.floatAttr("softcap", 0);
  parts.additive = masks.additive;
  parts.keep = masks.keep;
  parts.causal = masks.causal;
  parts.fullyMasked = FullyMasked::Zero;
  if (int64_t precision = n.intAttr("softmax_precision", 0)) {
    std::string error;
    parts.precision = onnx_import::getElementType(n.b.getContext(), precision, error);
  }
  Spelled spelled = spellOut(n, parts);
  if (n.failed())
    return;
  if (n.wants(3))
    n.out(3, spelled.stages[std::clamp<int64_t>(n.intAttr("qk_matmul_output_mode", 0), 0, 3)]);
  n.out(0, o.tokenMajor ? toTokens(n, spelled.result) : spelled.result);
}

static void attention(Node &n) {
  Operands o = readOperands(n);
  Masks masks = readMasks(n, o);
  if (n.failed())
    return;
  if (n.wants(1))
    n.out(1, o.key);
  if (n.wants(2))
    n.out(2, o.value);
  bool numbers = isNumber(n, o.query, 1) && isNumber(n, o.query, 3) && isNumber(n, o.key, 1) && isNumber(n, o.value, 3);
  if (!numbers || n.wants(3) || n.floatAttr("softcap", 0) != 0)
    return spelledOut(n, o, masks);
  int64_t heads = n.staticDim(o.query, 1, "the number of heads");
  int64_t kvHeads = n.staticDim(o.key, 1, "the number of key heads");
  int64_t width = n.staticDim(o.query, 3, "the head size");
  double scale = n.floatAttr("scale", 0);
  if (scale == 0)
    scale = 1.0 / std::sqrt(static_cast<double>(std::max<int64_t>(width, 1)));
  AttentionParts parts;
  parts.query = toTokens(n, o.query);
  parts.key = toTokens(n, o.key);
  parts.value = toTokens(n, o.value);
  parts.heads = heads;
  parts.kvHeads = kvHeads;
  parts.scale = scale;
  parts.additive = masks.additive;
  parts.keep = masks.keep;
  parts.causal = masks.causal;
  parts.fullyMasked = FullyMasked::Zero;
  Value result = buildAttention(n, parts);
  if (o.tokenMajor || n.failed())
    return n.out(result);
  n.out(toHeads(n, result, heads));
}

//===- Rotary embeddings ---------------------------------------------------------------===//

Value onnx_import::rotate(Node &n, Value x, Value cos, Value sin, const SymExpr &width, bool interleaved) {
  Dims all = n.dims(x);
  if (!n.failed() && all.size() != 4)
    n.error("expected an operand of rank 4");
  if (n.failed())
    return {};
  SymExpr size = all[3];
  std::optional<int64_t> number = width.getConstant(), limit = size.getConstant();
  if (number && (*number < 2 || *number % 2 || (limit && *number > *limit)))
    n.error("expected an even rotary dimension of at most " + size.str() + ", but got " + width.str());
  SymExpr half = n.quotient(width, 2, "the rotary dimension");
  n.require(width, size);
  Value turned = n.slice(x, 3, 0, width);
  Dims dims = n.dims(turned), halves = dims;
  if (n.failed())
    return {};
  halves[3] = half;
  Value a, b;
  if (interleaved) {
    a = n.create<SliceOp>(turned, Dims{0, 0, 0, 0}, halves, Ints{1, 1, 1, 2});
    b = n.create<SliceOp>(turned, Dims{0, 0, 0, 1}, halves, Ints{1, 1, 1, 2});
  } else {
    a = n.slice(turned, 3, 0, half);
    b = n.slice(turned, 3, half, half);
  }
  Value real = n.sub(n.mul(cos, a), n.mul(sin, b)), imaginary = n.add(n.mul(sin, a), n.mul(cos, b));
  Value result;
  if (interleaved) {
    Dims apart = halves;
    apart.push_back(1);
    result = n.reshape(n.concat({n.reshape(real, apart), n.reshape(imaginary, apart)}, 4), dims);
  } else {
    result = n.concat({real, imaginary}, 3);
  }
  return width == size ? result : n.concat({result, n.slice(x, 3, width, size - width)}, 3);
}

/// Shared by both domains, which order their inputs differently. Caches are
/// [positions, half] with ids, else [B, S, half].
static void rotaryWith(Node &n, Value x, Value cos, Value sin, Value ids) {
  bool tokenMajor = n.rank(x) == 3;
  SymExpr heads = n.intAttr("num_heads", 0), width = n.intAttr("rotary_embedding_dim", 0);
  Dims original = n.dims(x);
  if (n.failed())
    return;
  if (tokenMajor) {
    if (heads.getConstant().value_or(0) < 1 && n.rank(cos) >= 1 && width.isConstant(0)) // the caches hold half a head
      heads = n.quotient(original[2], n.dims(cos).back() * SymExpr(2), "the hidden size");
    if (!n.failed() && heads.getConstant().value_or(1) < 1)
      return n.error("expected num_heads to divide " + original[2].str());
    SymExpr size = n.quotient(original[2], heads, "the hidden size");
    if (n.failed())
      return;
    x = n.reshape(x, {original[0], original[1], heads, size});
  } else if (original.size() != 4) {
    return n.error("expected an input of rank 3 or 4");
  }
  if (width.isConstant(0))
    width = n.dims(x)[3];
  SymExpr half = n.quotient(width, 2, "the rotary dimension");
  auto table = [&](Value cache) -> Value {
    Value rows = ids ? n.create<GatherOp>(cache, ids, 0) : cache;
    Dims d = n.dims(rows);
    if (n.failed() || d.size() != 3)
      return {};
    if (!d[2].getConstant() || !half.getConstant())
      rows = n.unify(rows, {d[0], d[1], half}, "a cache");
    // [B, S, 1, half] beside [B, S, N, D], [B, 1, S, half] beside [B, N, S, D].
    SymExpr last = n.failed() ? d[2] : n.dims(rows)[2];
    return n.reshape(rows, tokenMajor ? Dims{d[0], d[1], 1, last} : Dims{d[0], 1, d[1], last});
  };
  Value c = table(cos), s = table(sin);
  if (!n.failed() && (!c || !s))
    return n.error("expected caches [batch, sequence, half] or [positions, half] with ids");
  Value result = rotate(n, x, c, s, width, n.boolAttr("interleaved", false));
  n.out(n.reshape(result, original));
}

static void rotary(Node &n) { rotaryWith(n, n.in(0), n.in(1), n.in(2), n.opt(3)); }

// ids of one element are where the sequence starts.
static void contribRotary(Node &n) {
  Value x = n.in(0), ids = n.in(1);
  if (n.boolAttr("is_packed_batching", false))
    return n.unsupported("with packed batches");
  if (!n.failed() && n.rank(ids) == 1) {
    Dims dims = n.dims(x);
    SymExpr length = dims.size() == 3 ? dims[1] : dims.size() == 4 ? dims[2] : SymExpr(1);
    mlir::Type type = n.elem(ids);
    ids = n.add(n.iota(type, {1, length}, 1), n.reshape(ids, {}));
  }
  rotaryWith(n, x, n.in(2), n.in(3), ids);
}

void onnx_import::addAttentionOps(OpTable &t) {
  t.add(kOnnx, "Attention", attention, 23);
  t.add(kOnnx, "RotaryEmbedding", rotary, 23);
  t.add(kMicrosoft, "RotaryEmbedding", contribRotary);
}
