// Gradients of attention by query, key and value at once. A tile is a key head of a
// sequence: it goes through the queries of all heads that share it, block by block, and
// sums what they give to keys and values in scratch memory, so that no two tiles write
// one element.
//
// Per block of queries: scores = q k^T and dp = g v^T by the register-tile kernel, both in
// chunks of gemmKC keys, [chunk][query][rowStride]; softmax on whole rows, and ds = p (dp -
// sum p dp) scale in place of dp; dq = ds k; dv += p^T g and dk += ds^T q, whose left sides
// are transposed a few keys at a time. Scores never leave scratch memory.
#include "MicroKernel.h"
#include "RowLoops.h"
#include "llmopt/CodeGen/CPU/Training.h"
#include "llmopt/CodeGen/CPU/VectorMath.h"

#include <limits>

namespace llmopt::cpu {
namespace {

constexpr double kLowest = -std::numeric_limits<double>::infinity();
/// Keys whose scores are transposed at a time.
constexpr int64_t kKeyBlock = 64;

int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Offsets into scratch memory, in elements; those behind `perChunk` follow from the
/// number of keys.
struct Layout {
  int64_t block, chunk, headPanels, valuePanels, headWidth, valueWidth;
  int64_t gradients, panel, transposed, sums, inverse, scores;
  int64_t perChunk; // scores, dp, and sums of keys and values, per chunk of keys

  Layout(const AttentionGradSpec &spec, const TargetInfo &t) {
    int64_t nr = t.gemmNR(), stride = rowStride(t);
    block = spec.queryBlock;
    chunk = block * stride;
    headPanels = ceilDiv(spec.headDim, nr);
    valuePanels = ceilDiv(spec.valueDim, nr);
    headWidth = headPanels * nr;
    valueWidth = valuePanels * nr;
    gradients = chunk; // the queries come first
    panel = 2 * chunk;
    transposed = panel + t.gemmKC * nr;
    sums = transposed + kKeyBlock * stride;
    inverse = sums + headPanels * block * nr;
    scores = inverse + ceilDiv(block, 16) * 16;
    perChunk = 2 * chunk + t.gemmKC * (headWidth + valueWidth);
  }
};

class Emitter {
public:
  Emitter(KernelBuilder &kb, const AttentionGradSpec &spec)
      : kb(kb), spec(spec), at(spec, kb.target), nr(kb.target.gemmNR()), kc(kb.target.gemmKC),
        stride(rowStride(kb.target)) {}

  void emit() {
    V kvHead = kb.tile % spec.kvHeads;
    batch = kb.tile / spec.kvHeads;
    allKeys = kb.size(spec.keyLength);
    V chunks = kb.ceilDiv(allKeys, kc);
    dp = kb.at(place(at.scores), chunks * at.chunk);
    keySums = kb.at(dp, chunks * at.chunk);
    valueSums = kb.at(keySums, chunks * (kc * at.headWidth));
    k = tensor(spec.k, allKeys, kb.i(0), spec.kvHeads, kvHead, spec.headDim);
    v = tensor(spec.v, allKeys, kb.i(0), spec.kvHeads, kvHead, spec.valueDim);
    clear(keySums, allKeys * at.headWidth);
    clear(valueSums, allKeys * at.valueWidth);

    int64_t group = spec.heads / spec.kvHeads;
    V queryLength = kb.size(spec.queryLength);
    kb.loop(kb.i(0), kb.i(group), 1, [&](V member) {
      head = kvHead * group + member;
      kb.loop(kb.i(0), queryLength, at.block, [&](V start) {
        first = start;
        queries = kb.minimum(queryLength - first, kb.i(at.block));
        emitBlock();
      });
    });

    V dk = tensor(spec.dk, allKeys, kb.i(0), spec.kvHeads, kvHead, spec.headDim);
    V dv = tensor(spec.dv, allKeys, kb.i(0), spec.kvHeads, kvHead, spec.valueDim);
    emitCopyRows(kb, dk, spec.kvHeads * spec.headDim, keySums, kb.i(at.headWidth), allKeys, kb.i(spec.headDim));
    emitCopyRows(kb, dv, spec.kvHeads * spec.valueDim, valueSums, kb.i(at.valueWidth), allKeys, kb.i(spec.valueDim));
  }

private:
  V place(int64_t offset) { return kb.at(kb.scratch, offset); }
  V always(bool value) { return kb.intConstant(kb.builder.getI1Type(), value); }

  /// Element [batch][token][head][0] of a dense [B, length, heads * width].
  V tensor(const Operand &operand, V length, V token, int64_t heads, V head, int64_t width) {
    V row = (batch * length + token) * heads + head;
    return kb.at(kb.arg(operand.arg), kb.size(operand.offset) + row * width);
  }

  void clear(V from, V count) {
    kb.forVectors(count, [&](V at, V mask) { kb.storeMaybeMasked(kb.splatConstant(0), kb.at(from, at), mask); });
  }

  /// body(number, first key, how many) for all chunks of keys that the block sees, once
  /// where it sees none.
  void forChunks(llvm::function_ref<void(V, V, V)> body) {
    kb.loop(kb.i(0), kb.maximum(kb.ceilDiv(keys, kc), kb.i(1)), 1,
            [&](V chunk) { body(chunk, chunk * kc, kb.minimum(keys - chunk * kc, kb.i(kc))); });
  }

  /// c[queries][count] = a[queries][width] b[count][width]^T, panel by panel of keys.
  void multiplyTransposed(V a, V b, int64_t heads, int64_t width, V c, V count) {
    kb.loop(kb.i(0), count, nr, [&](V j) {
      int64_t rowWidth = heads * width;
      emitTranspose(kb, place(at.panel), nr, kb.at(b, j * rowWidth), kb.i(rowWidth), kb.minimum(count - j, kb.i(nr)),
                    kb.i(width));
      emitRowPanels(kb, {a, place(at.panel), kb.i(nr), kb.at(c, j), kb.i(stride), kb.i(width), always(false), V{}},
                    queries);
    });
  }

  void emitBlock() {
    V queryLength = kb.size(spec.queryLength);
    auto rows = [&](const Operand &operand, int64_t width) {
      return tensor(operand, queryLength, first, spec.heads, head, width);
    };
    emitCopyRows(kb, place(0), stride, rows(spec.q, spec.headDim), kb.i(spec.heads * spec.headDim), queries,
                 kb.i(spec.headDim));
    emitCopyRows(kb, place(at.gradients), stride, rows(spec.gradient, spec.valueDim), kb.i(spec.heads * spec.valueDim),
                 queries, kb.i(spec.valueDim));
    keys = allKeys;
    if (spec.causal)
      keys = kb.maximum(kb.minimum(keys, first + queries + kb.size(spec.causalOffset)), kb.i(0));
    forChunks([&](V chunk, V key, V count) {
      multiplyTransposed(place(0), kb.at(k, key * (spec.kvHeads * spec.headDim)), spec.kvHeads, spec.headDim,
                         kb.at(place(at.scores), chunk * at.chunk), count);
      multiplyTransposed(place(at.gradients), kb.at(v, key * (spec.kvHeads * spec.valueDim)), spec.kvHeads,
                         spec.valueDim, kb.at(dp, chunk * at.chunk), count);
    });
    kb.loop(kb.i(0), queries, 1, [&](V r) { emitRow(r); });
    emitQueries(rows(spec.dq, spec.headDim));
    emitKeysAndValues();
  }

  /// Folds vectors of a row over all chunks: step(partial, p, q, key, mask) of the places in
  /// scores and dp.
  template <typename Step> Values foldScores(V r, double neutral, Step step) {
    Values partials(rowPartialSums, kb.splatConstant(neutral));
    return kb.loop(kb.i(0), kb.ceilDiv(keys, kc), 1, partials, [&](V chunk, llvm::ArrayRef<V> carried) {
      V offset = chunk * at.chunk + r * stride, key = chunk * kc;
      V scores = kb.at(place(at.scores), offset), gradients = kb.at(dp, offset);
      return foldRow(kb, kb.minimum(keys - key, kb.i(kc)), Values(carried), [&](V partial, V j, V mask) {
        return step(partial, kb.at(scores, j), kb.at(gradients, j), key + j, mask);
      });
    });
  }

  /// Scores -> p, dp -> ds.
  void emitRow(V r) {
    V mask, visible;
    const V zero = kb.splatConstant(0), lowest = kb.splatConstant(kLowest);
    if (spec.mask)
      mask = kb.at(kb.arg(spec.mask.arg), kb.size(spec.mask.offset) + batch * kb.size(spec.maskBatchStride) +
                                              head * kb.size(spec.maskHeadStride) +
                                              (first + r) * kb.size(spec.maskQueryStride));
    if (spec.causal)
      visible = first + r + kb.size(spec.causalOffset) + 1;
    V largest = maxPartials(kb, foldScores(r, kLowest, [&](V partial, V p, V, V key, V valid) {
                              V x = kb.loadMaybeMasked(p, valid) * spec.scale;
                              if (mask)
                                x = x + kb.loadMaybeMasked(kb.at(mask, key), valid);
                              if (visible)
                                x = kb.select(kb.firstLanes(kb.maximum(visible - key, kb.i(0))), x, lowest);
                              kb.storeMaybeMasked(x, p, valid);
                              return kb.maximum(partial, valid ? kb.select(valid, x, lowest) : x);
                            }));
    V nothing = largest == kLowest;
    V shift = spec.zeroWhereMasked ? kb.select(nothing, kb.f(0), largest) : largest;
    V inverse = 1.0 / sumPartials(kb, foldScores(r, 0, [&](V partial, V p, V, V, V valid) {
                                    V e = emitExpNonPositive(kb, kb.loadMaybeMasked(p, valid) - shift);
                                    kb.storeMaybeMasked(e, p, valid);
                                    return partial + (valid ? kb.select(valid, e, zero) : e);
                                  }));
    inverse = kb.select(nothing, kb.f(spec.zeroWhereMasked ? 0 : std::numeric_limits<double>::quiet_NaN()), inverse);
    // A key that counts for nothing has no part, whatever its value holds.
    V mean = sumPartials(kb, foldScores(r, 0, [&](V partial, V p, V g, V, V valid) {
                           V weight = kb.loadMaybeMasked(p, valid) * inverse;
                           kb.storeMaybeMasked(weight, p, valid);
                           V part = kb.select(weight == zero, zero, weight * kb.loadMaybeMasked(g, valid));
                           return partial + (valid ? kb.select(valid, part, zero) : part);
                         }));
    foldScores(r, 0, [&](V partial, V p, V g, V, V valid) {
      V weight = kb.loadMaybeMasked(p, valid);
      V ds = weight * (kb.loadMaybeMasked(g, valid) - mean) * spec.scale;
      kb.storeMaybeMasked(kb.select(weight == zero, zero, ds), g, valid);
      return partial;
    });
  }

  /// dq = ds k.
  void emitQueries(V dq) {
    int64_t rowWidth = spec.kvHeads * spec.headDim;
    auto sumsOf = [&](int64_t panel) { return place(at.sums + panel * at.block * nr); };
    forChunks([&](V chunk, V key, V count) {
      V ds = kb.at(dp, chunk * at.chunk);
      for (int64_t panel = 0; panel < at.headPanels; ++panel) {
        emitCopyRows(kb, place(at.panel), nr, kb.at(k, key * rowWidth + panel * nr), kb.i(rowWidth), count,
                     kb.i(std::min(nr, spec.headDim - panel * nr)));
        emitRowPanels(kb, {ds, place(at.panel), kb.i(nr), sumsOf(panel), kb.i(nr), count, chunk > 0, V{}}, queries);
      }
    });
    for (int64_t panel = 0; panel < at.headPanels; ++panel)
      emitCopyRows(kb, kb.at(dq, panel * nr), spec.heads * spec.headDim, sumsOf(panel), kb.i(nr), queries,
                   kb.i(std::min(nr, spec.headDim - panel * nr)));
  }

  /// sums[key] += a[queries][key]^T b[queries], b a block of rowStride.
  void addTransposed(V a, V b, int64_t panels, V sums, int64_t width, V count) {
    emitTranspose(kb, place(at.transposed), stride, a, kb.i(stride), queries, count);
    for (int64_t panel = 0; panel < panels; ++panel)
      emitRowPanels(kb,
                    {place(at.transposed), kb.at(b, panel * nr), kb.i(stride), kb.at(sums, panel * nr), kb.i(width),
                     queries, always(true), V{}},
                    count);
  }

  void emitKeysAndValues() {
    kb.loop(kb.i(0), kb.ceilDiv(keys, kc), 1, [&](V chunk) {
      V key = chunk * kc, inChunk = kb.minimum(keys - key, kb.i(kc));
      kb.loop(kb.i(0), inChunk, kKeyBlock, [&](V j) {
        V count = kb.minimum(inChunk - j, kb.i(kKeyBlock)), offset = chunk * at.chunk + j, row = key + j;
        addTransposed(kb.at(place(at.scores), offset), place(at.gradients), at.valuePanels,
                      kb.at(valueSums, row * at.valueWidth), at.valueWidth, count);
        addTransposed(kb.at(dp, offset), place(0), at.headPanels, kb.at(keySums, row * at.headWidth), at.headWidth,
                      count);
      });
    });
  }

  KernelBuilder &kb;
  const AttentionGradSpec &spec;
  const Layout at;
  const int64_t nr, kc, stride;
  V batch, head, first, queries; // this block
  V allKeys, keys;               // of the sequence; that the block sees
  V k, v;                        // this tile's first key and value
  V dp, keySums, valueSums;      // behind the scores
};

} // namespace

SizeFormula attentionGradTiles(const AttentionGradSpec &spec) {
  SizeFormula tiles;
  tiles.scale = spec.kvHeads;
  tiles.factors.push_back({spec.batch, 1});
  return tiles;
}

SizeFormula attentionGradScratch(const AttentionGradSpec &spec, const TargetInfo &target) {
  Layout layout(spec, target);
  SizeFormula bytes;
  // Without keys a chunk is looked at, of which nothing is read.
  bytes.constant = (layout.scores + 2 * layout.chunk) * 4;
  bytes.scale = layout.perChunk * 4;
  bytes.factors.push_back({spec.keyLength, target.gemmKC});
  return bytes;
}

void emitAttentionGrad(KernelBuilder &kb, const AttentionGradSpec &spec) {
  declareMicroKernels(kb);
  kb.beginKernel(spec.name);
  Emitter(kb, spec).emit();
  kb.finish();
}

} // namespace llmopt::cpu
