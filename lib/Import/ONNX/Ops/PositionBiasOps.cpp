// Biases of attention scores by relative position (com.microsoft).
#include "OpTable.h"

#include <cmath>

using namespace llmopt;
using namespace llmopt::onnx_import;
using namespace llmopt::lm;
using mlir::Value;

/// The smallest distance in each bucket but the first: one bucket per distance, then
/// wider ones up to `furthest` (Raffel et al. 2020), in floats as the models that
/// were trained with it computed them.
static Ints bucketStarts(int64_t buckets, int64_t furthest) {
  Ints starts;
  int64_t exact = buckets / 2;
  for (int64_t distance = 1; distance <= furthest && static_cast<int64_t>(starts.size()) + 1 < buckets; ++distance) {
    int64_t bucket = distance;
    if (distance >= exact) {
      float share = std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
                    std::log(static_cast<float>(furthest) / static_cast<float>(exact));
      bucket = std::min(exact + static_cast<int64_t>(share * static_cast<float>(buckets - exact)), buckets - 1);
    }
    while (static_cast<int64_t>(starts.size()) < bucket)
      starts.push_back(distance);
  }
  return starts;
}

// table [buckets, N] in column-major order, numbers of queries and keys -> [1, N, S, T].
static void relativePositionBias(Node &n) {
  Value table = n.in(0);
  int64_t furthest = n.intAttr("max_distance", 0), buckets = n.staticDim(table, 0, "the number of buckets");
  bool both = n.boolAttr("is_bidirectional", false);
  int64_t half = both ? buckets / 2 : buckets; // those of keys behind have the other
  if (!n.failed() && (n.rank(table) != 2 || half < 2 || half > 4096 || furthest <= half / 2 || furthest > (1 << 20)))
    n.error("expected a table [buckets, heads] with at most 4096 buckets, and a max_distance beyond half of them and "
            "of at most 1048576");
  Dims queries = n.values(n.in(1), "the number of queries"), keys = n.values(n.in(2), "the number of keys");
  if (!n.failed() && (queries.size() != 1 || keys.size() != 1))
    n.error("expected one number of queries and one of keys");
  if (n.failed())
    return;
  table = n.swapLast(n.reshape(table, {n.dims(table)[1], buckets}));
  SymExpr rows = queries[0], columns = keys[0], distances = rows + columns - 1;
  mlir::Type i64 = n.b.getI64Type();
  auto size = [&](const SymExpr &value) {
    return n.constant(getSymbolicAttr(mlir::RankedTensorType::get({}, i64), {value}));
  };
  // Every distance j - i that occurs, from 1 - S to T - 1, is looked up once.
  Value relative = n.sub(n.iota(i64, {distances}, 0), size(rows - 1)), zero = n.scalar(i64, 0);
  Value behind = n.compare(Predicate::GT, relative, zero);
  Value away = both ? n.create<AbsOp>(relative) : n.create<NegOp>(n.create<MinOp>(relative, zero));
  Ints starts = bucketStarts(half, furthest);
  Value reached = n.compare(Predicate::GE, n.reshape(away, {distances, 1}), n.intVector(starts));
  Value bucket = n.reduce(ReduceKind::Sum, n.cast(reached, i64), {1}, /*keepDims=*/false);
  if (both)
    bucket = n.add(bucket, n.mul(n.cast(behind, i64), static_cast<double>(half)));
  Value bias = n.create<GatherOp>(table, bucket, 0); // [distances, N]
  Value which = n.add(n.sub(n.iota(i64, {1, columns}, 1), n.iota(i64, {rows, 1}, 0)), size(rows - 1));
  Value all = n.transpose(n.create<GatherOp>(bias, which, 0), {2, 0, 1});
  Dims dims = n.dims(all);
  dims.insert(dims.begin(), SymExpr(1));
  n.out(n.reshape(all, dims));
}

// query [B, S, N D], its bias [N D], relative positions [1, N, S, S], weight [D, W],
// its bias [W], eco_a [1, N, 1, 1] -> [B, N, S, S] (Chi et al. 2022, WavLM's gates).
static void gatedRelativePositionBias(Node &n) {
  if (n.has(6))
    return n.unsupported("with token offsets", "export without packing mode");
  Value query = n.in(0), weight = n.in(3);
  int64_t heads = n.intAttr("num_heads", 0), hidden = n.staticDim(query, n.rank(query) - 1, "the hidden size");
  int64_t width = n.staticDim(weight, 1, "the width of the gates");
  if (!n.failed() && (n.rank(query) != 3 || heads < 1 || hidden % heads || width < 2 || width % 2))
    n.error("expected a query [batch, sequence, hidden] of num_heads heads and an even number of gates");
  if (n.failed())
    return;
  Dims d = n.dims(query);
  Value x = n.transpose(n.reshape(n.add(query, n.in(1)), {d[0], d[1], heads, hidden / heads}), {0, 2, 1, 3});
  Value gates = n.add(n.create<MatMulOp>(x, weight), n.in(4));
  gates = n.reduce(ReduceKind::Sum, n.reshape(gates, {d[0], heads, d[1], 2, width / 2}), {4}, /*keepDims=*/false);
  gates = n.create<SigmoidOp>(gates);
  Value u = n.slice(gates, 3, 0, 1), r = n.slice(gates, 3, 1, 1);
  Value gate = n.add(n.mul(u, n.add(n.mul(r, n.in(5)), -1.0)), 2.0);
  n.out(n.mul(gate, n.in(2)));
}

void onnx_import::addPositionBiasOps(OpTable &t) {
  t.add(kMicrosoft, "RelativePositionBias", relativePositionBias);
  t.add(kMicrosoft, "GatedRelativePositionBias", gatedRelativePositionBias);
}
