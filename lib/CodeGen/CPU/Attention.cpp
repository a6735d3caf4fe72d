// Fused attention. Per tile: scores = q k^T by the register-tile kernel, panel
// of keys by panel of keys; mask and softmax on whole rows; p v by the same
// kernel; division by the row's sum while writing.
//
// Scores are stored in chunks of gemmKC keys, [chunk][query][rowStride], so
// that a chunk is directly a block of A for the second product.
#include "llmopt/CodeGen/CPU/Attention.h"

#include "MicroKernel.h"
#include "RowLoops.h"
#include "llmopt/CodeGen/CPU/VectorMath.h"

#include <algorithm>

namespace llmopt::cpu {
namespace {

constexpr double negativeInfinity = -std::numeric_limits<double>::infinity();

int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Offsets into scratch memory, in elements.
struct Layout {
  int64_t queryBlock, valueDim;
  int64_t depthBlocks; // of headDim
  int64_t valuePanels;
  int64_t panel, sums, inverse, rows, scores, chunk;

  Layout(const AttentionSpec &spec, const TargetInfo &t) {
    queryBlock = spec.queryBlock ? spec.queryBlock : 64;
    if (!spec.queryLength.isDim)
      queryBlock = std::clamp<int64_t>(spec.queryLength.value, 1, queryBlock);
    valueDim = spec.valueDim ? spec.valueDim : spec.headDim;
    depthBlocks = ceilDiv(spec.headDim, t.gemmKC);
    valuePanels = ceilDiv(valueDim, t.gemmNR());
    chunk = queryBlock * rowStride(t);
    panel = depthBlocks * chunk; // the queries come first
    sums = panel + t.gemmKC * t.gemmNR();
    inverse = sums + valuePanels * queryBlock * t.gemmNR();
    rows = inverse + ceilDiv(queryBlock, 16) * 16;
    scores = rows + (spec.kScale.base ? t.gemmKC * t.gemmNR() : 0); // a panel of keys as floats
  }
};

struct Emitter {
  KernelBuilder &kb;
  const AttentionSpec &spec;
  const Layout at;
  const int64_t nr, kc, stride;
  V batch, head, firstQuery, queries; // this tile
  V keys;                             // keys this tile looks at
  V q, k, v, out; // this tile's first query, key, value, result
  V kScale, vScale; // where keys and values are bytes

  Emitter(KernelBuilder &kb, const AttentionSpec &spec)
      : kb(kb), spec(spec), at(spec, kb.target), nr(kb.target.gemmNR()),
        kc(kb.target.gemmKC), stride(rowStride(kb.target)) {}

  V place(int64_t offset) { return kb.at(kb.scratch, offset); }
  V tensor(const AttentionSpec::Tensor &t, V head, V token, mlir::Type element = {}) {
    V offset = kb.size(t.base.offset) + batch * kb.size(t.batchStride) +
               head * kb.size(t.headStride) + token * kb.size(t.tokenStride);
    return kb.at(kb.arg(t.base.arg), offset, element);
  }
  bool isQuantized() const { return bool(spec.kScale.base); }

  /// Rows of bytes as floats: integers times the scale of their row.
  void dequantizeRows(V dst, int64_t dstStride, V src, V srcStride, V scale, V scaleStride, V rows, V cols) {
    V zero = kb.intConstant(kb.vecOf(kb.i8()), 0);
    kb.loop(kb.i(0), rows, 1, [&](V r) {
      V factor = kb.splat(kb.load(kb.at(scale, r * scaleStride)));
      V from = kb.at(src, r * srcStride, kb.i8()), to = kb.at(dst, r * dstStride);
      kb.forVectors(cols, [&](V offset, V mask) {
        V place = kb.at(from, offset, kb.i8());
        V bytes = mask ? kb.loadMasked(place, mask, zero) : kb.load(place, zero.type());
        V value = kb.toFloat(kb.convert(bytes, kb.i32()), kb.f32()) * factor;
        kb.storeMaybeMasked(value, kb.at(to, offset), mask);
      });
    });
  }

  void locateTile() {
    V queryLength = kb.size(spec.queryLength);
    V blocks = kb.ceilDiv(queryLength, at.queryBlock);
    V block = kb.tile % blocks, rest = kb.tile / blocks;
    head = rest % spec.heads;
    batch = rest / spec.heads;
    firstQuery = queryLength * block / blocks;
    queries = queryLength * (block + 1) / blocks - firstQuery;

    keys = kb.size(spec.keyLength);
    if (spec.keyLengths) {
      mlir::Type type = spec.keyLengths64 ? kb.i64() : kb.i32();
      V base = kb.at(kb.arg(spec.keyLengths.arg),
                     kb.size(spec.keyLengths.offset), type);
      V length = kb.convert(kb.load(kb.at(base, batch, type), type), kb.i64());
      keys = kb.maximum(kb.minimum(keys, length), kb.i(0));
    }
    if (spec.causal)
      keys = kb.maximum(
          kb.minimum(keys, firstQuery + queries + kb.size(spec.causalOffset)),
          kb.i(0));

    int64_t group = spec.kvHeads ? spec.heads / spec.kvHeads : 1;
    V kvHead = group == 1 ? head : head / group;
    q = tensor(spec.q, head, firstQuery);
    mlir::Type stored = isQuantized() ? kb.i8() : kb.f32();
    k = tensor(spec.k, kvHead, kb.i(0), stored);
    v = tensor(spec.v, kvHead, kb.i(0), stored);
    if (isQuantized()) {
      kScale = tensor(spec.kScale, kvHead, kb.i(0));
      vScale = tensor(spec.vScale, kvHead, kb.i(0));
    }
    out = tensor(spec.out, head, firstQuery);
  }

  /// body(first key, chunk's scores, number of keys in the chunk)
  void forChunks(llvm::function_ref<void(V, V, V)> body) {
    kb.loop(kb.i(0), kb.ceilDiv(keys, kc), 1, [&](V chunk) {
      V first = chunk * kc;
      body(first, kb.at(place(at.scores), chunk * at.chunk),
           kb.minimum(keys - first, kb.i(kc)));
    });
  }

  void scoreKeys() {
    for (int64_t d = 0; d < at.depthBlocks; ++d)
      emitCopyRows(kb, place(d * at.chunk), stride, kb.at(q, d * kc),
                   kb.size(spec.q.tokenStride), queries,
                   kb.i(std::min(kc, spec.headDim - d * kc)));
    V keyStride = kb.size(spec.k.tokenStride);
    forChunks([&](V first, V scores, V count) {
      kb.loop(kb.i(0), count, nr, [&](V j) {
        for (int64_t d = 0; d < at.depthBlocks; ++d) {
          V depth = kb.i(std::min(kc, spec.headDim - d * kc));
          V panel = place(at.panel), tokens = kb.minimum(count - j, kb.i(nr));
          V from = kb.at(k, (first + j) * keyStride + d * kc, isQuantized() ? kb.i8() : kb.f32());
          V fromStride = keyStride;
          if (isQuantized()) {
            V scaleStride = kb.size(spec.kScale.tokenStride);
            dequantizeRows(place(at.rows), kc, from, keyStride, kb.at(kScale, (first + j) * scaleStride), scaleStride,
                           tokens, depth);
            from = place(at.rows);
            fromStride = kb.i(kc);
          }
          emitTranspose(kb, panel, nr, from, fromStride, tokens, depth);
          MicroArgs args{place(d * at.chunk),
                         panel,
                         kb.i(nr),
                         kb.at(scores, j),
                         kb.i(stride),
                         depth,
                         kb.intConstant(kb.builder.getI1Type(), d > 0),
                         V{}};
          emitRowPanels(kb, args, queries);
        }
      });
    });
  }

  V maskRow(V r) {
    V offset = kb.size(spec.mask.offset) +
               batch * kb.size(spec.maskBatchStride) +
               head * kb.size(spec.maskHeadStride) +
               (firstQuery + r) * kb.size(spec.maskQueryStride);
    return kb.at(kb.arg(spec.mask.arg), offset,
                 spec.maskKind == AttentionSpec::Mask::Keep ? kb.i8()
                                                            : kb.f32());
  }

  /// The masked score of keys j .. j + lanes - 1 (`valid`: those that exist).
  V maskedScore(V raw, V maskRow, V visible, V j, V valid) {
    V x = raw;
    if (spec.maskKind == AttentionSpec::Mask::Additive) {
      V added = kb.loadMaybeMasked(kb.at(maskRow, j), valid);
      x = kb.fma(raw, kb.splatConstant(spec.scale), added);
    } else if (spec.scale != 1.0) {
      x = raw * spec.scale;
    }
    if (spec.maskKind == AttentionSpec::Mask::Keep) {
      V zero = kb.intConstant(kb.vecOf(kb.i8()), 0);
      V from = kb.at(maskRow, j, kb.i8());
      V keep =
          valid ? kb.loadMasked(from, valid, zero) : kb.load(from, zero.type());
      x = kb.select(keep != zero, x, kb.splatConstant(spec.maskedValue));
    }
    if (spec.causal) {
      V within = kb.firstLanes(kb.maximum(visible - j, kb.i(0)));
      x = kb.select(within, x, kb.splatConstant(negativeInfinity));
    }
    return x;
  }

  void softmaxRow(V r) {
    V mask, visible;
    if (spec.maskKind != AttentionSpec::Mask::None)
      mask = maskRow(r);
    if (spec.causal)
      visible = firstQuery + r + kb.size(spec.causalOffset) + 1;
    V chunks = kb.ceilDiv(keys, kc);
    auto row = [&](V chunk) {
      return kb.at(place(at.scores), chunk * at.chunk + r * stride);
    };
    auto inChunk = [&](V chunk) {
      return kb.minimum(keys - chunk * kc, kb.i(kc));
    };

    const V lowest = kb.splatConstant(negativeInfinity),
            zero = kb.splatConstant(0);
    Values partials(rowPartialSums, lowest);
    partials = kb.loop(
        kb.i(0), chunks, 1, partials, [&](V chunk, llvm::ArrayRef<V> carried) {
          V scores = row(chunk);
          return foldRow(
              kb, inChunk(chunk), Values(carried),
              [&](V partial, V j, V valid) {
                V place = kb.at(scores, j);
                V x = maskedScore(kb.loadMaybeMasked(place, valid), mask,
                                  visible, chunk * kc + j, valid);
                kb.storeMaybeMasked(x, place, valid);
                return kb.maximum(partial,
                                  valid ? kb.select(valid, x, lowest) : x);
              });
        });
    V largest = maxPartials(kb, partials);
    V nothing = largest == negativeInfinity;
    V shift = spec.fullyMasked == AttentionSpec::FullyMasked::Zero
                  ? kb.select(nothing, kb.f(0), largest)
                  : largest;

    partials = Values(rowPartialSums, zero);
    partials = kb.loop(
        kb.i(0), chunks, 1, partials, [&](V chunk, llvm::ArrayRef<V> carried) {
          V scores = row(chunk);
          return foldRow(kb, inChunk(chunk), Values(carried),
                         [&](V partial, V j, V valid) {
                           V place = kb.at(scores, j);
                           V e = emitExpNonPositive(
                               kb, kb.loadMaybeMasked(place, valid) - shift);
                           kb.storeMaybeMasked(e, place, valid);
                           return partial +
                                  (valid ? kb.select(valid, e, zero) : e);
                         });
        });
    V inverse = 1.0 / sumPartials(kb, partials);
    if (spec.fullyMasked == AttentionSpec::FullyMasked::Zero)
      inverse = kb.select(nothing, kb.f(0), inverse);
    if (spec.fullyMasked == AttentionSpec::FullyMasked::Nan)
      inverse = kb.select(
          nothing, kb.f(std::numeric_limits<double>::quiet_NaN()), inverse);
    kb.store(inverse, kb.at(place(at.inverse), r));
  }

  V sumsOfPanel(V panel) {
    return kb.at(place(at.sums), panel * (at.queryBlock * nr));
  }

  void weighValues() {
    V valueStride = kb.size(spec.v.tokenStride);
    V panels = kb.i(at.valuePanels);
    auto width = [&](V panel) {
      return at.valueDim % nr == 0
                 ? kb.i(nr)
                 : kb.minimum(kb.i(at.valueDim) - panel * nr, kb.i(nr));
    };
    // At least one chunk, so that a tile without keys has sums of zero.
    V chunks = kb.maximum(kb.ceilDiv(keys, kc), kb.i(1));
    kb.loop(kb.i(0), chunks, 1, [&](V chunk) {
      V first = chunk * kc;
      V count = kb.minimum(keys - first, kb.i(kc));
      V weights = kb.at(place(at.scores), chunk * at.chunk);
      kb.loop(kb.i(0), panels, 1, [&](V panel) {
        V from = kb.at(v, first * valueStride + panel * nr, isQuantized() ? kb.i8() : kb.f32());
        if (isQuantized()) {
          V scaleStride = kb.size(spec.vScale.tokenStride);
          dequantizeRows(place(at.panel), nr, from, valueStride, kb.at(vScale, first * scaleStride), scaleStride, count,
                         width(panel));
        } else {
          emitCopyRows(kb, place(at.panel), nr, from, valueStride, count, width(panel));
        }
        MicroArgs args{weights,  place(at.panel), kb.i(nr),  sumsOfPanel(panel),
                       kb.i(nr), count,           chunk > 0, V{}};
        emitRowPanels(kb, args, queries);
      });
    });

    V outStride = kb.size(spec.out.tokenStride);
    kb.loop(kb.i(0), queries, 1, [&](V r) {
      V inverse = kb.load(kb.at(place(at.inverse), r));
      kb.loop(kb.i(0), panels, 1, [&](V panel) {
        V sums = kb.at(sumsOfPanel(panel), r * nr),
          to = kb.at(out, r * outStride + panel * nr);
        forRow(kb, width(panel), [&](V offset, V mask) {
          kb.storeMaybeMasked(kb.loadVec(kb.at(sums, offset)) * inverse,
                              kb.at(to, offset), mask);
        });
      });
    });
  }

  void emit() {
    locateTile();
    scoreKeys();
    kb.loop(kb.i(0), queries, 1, [&](V r) { softmaxRow(r); });
    weighValues();
  }
};

} // namespace

SizeFormula attentionTiles(const AttentionSpec &spec,
                           const TargetInfo &target) {
  SizeFormula tiles;
  tiles.scale = spec.heads;
  tiles.factors.push_back({spec.batch, 1});
  tiles.factors.push_back({spec.queryLength, Layout(spec, target).queryBlock});
  return tiles;
}

SizeFormula attentionScratch(const AttentionSpec &spec,
                             const TargetInfo &target) {
  Layout layout(spec, target);
  SizeFormula bytes;
  bytes.constant = layout.scores * 4;
  bytes.scale = layout.chunk * 4;
  bytes.factors.push_back({spec.keyLength, target.gemmKC});
  return bytes;
}

void emitAttention(KernelBuilder &kb, const AttentionSpec &spec) {
  declareMicroKernels(kb);
  kb.beginKernel(spec.name);
  Emitter(kb, spec).emit();
  kb.finish();
}

} // namespace llmopt::cpu
