// Matrix multiplication: blocking, packing and the epilogue around the
// register-tile kernel. Inside a tile: k blocks, then column panels (one slice
// of B stays in the L1 cache), then row panels (the block of A stays in L2).
#include "llmopt/CodeGen/CPU/Gemm.h"

#include "MicroKernel.h"
#include "QuantizedB.h"
#include "llmopt/CodeGen/CPU/VectorMath.h"

#include <algorithm>

namespace llmopt::cpu {
namespace {

int64_t roundUp(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// Tile shape and the layout of scratch memory, all in elements.
struct Blocking {
  int64_t mBlock, nBlock;
  bool oneKBlock; // K is known to fit one block: no partial sums in memory
  int64_t sums;   // offset of the sums, [panel][mBlock][NR]
  int64_t panelB; // offset of one packed panel of B
  int64_t total;

  Blocking(const GemmSpec &spec, const TargetInfo &t) {
    const int64_t nr = t.gemmNR();
    mBlock = spec.mBlock ? spec.mBlock : 128;
    if (!spec.m.isDim)
      mBlock = std::min(mBlock, std::max<int64_t>(1, spec.m.value));
    nBlock = roundUp(spec.nBlock ? spec.nBlock : 192, nr);
    if (!spec.n.isDim) {
      int64_t n = std::max<int64_t>(1, spec.n.value);
      int64_t blocks = (n + nBlock - 1) / nBlock;
      nBlock = roundUp((n + blocks - 1) / blocks, nr);
    }
    oneKBlock = !spec.k.isDim && spec.k.value <= t.gemmKC;
    sums = mBlock * rowStride(t);
    panelB = sums + mBlock * (oneKBlock ? nr : nBlock);
    total = panelB + (spec.packedB && !spec.quantizedB ? 0 : t.gemmKC * nr);
    if (spec.quantizedB)
      total = std::max(total, quantizedGemvScratch(spec, t));
  }
};

struct Emitter {
  KernelBuilder &kb;
  const GemmSpec &spec;
  const Blocking blocking;
  const int64_t nr, kc;
  V aBase, bBase, cBase, residualBase; // of this batch entry
  V m, n, k;
  V m0, rows; // rows of this tile
  V n0, n1;   // columns of this tile

  Emitter(KernelBuilder &kb, const GemmSpec &spec)
      : kb(kb), spec(spec), blocking(spec, kb.target), nr(kb.target.gemmNR()),
        kc(kb.target.gemmKC) {}

  V base(const Operand &operand) {
    return kb.at(kb.arg(operand.arg), kb.size(operand.offset));
  }

  void locateTile() {
    m = kb.size(spec.m);
    n = kb.size(spec.n);
    k = kb.size(spec.k);
    V mTiles = kb.ceilDiv(m, blocking.mBlock),
      nTiles = kb.ceilDiv(n, blocking.nBlock);
    V rest = kb.tile / mTiles, mTile = kb.tile % mTiles;
    V nTile = rest % nTiles;
    m0 = m * mTile / mTiles;
    rows = m * (mTile + 1) / mTiles - m0;
    n0 = nTile * blocking.nBlock;
    n1 = kb.minimum(n, n0 + blocking.nBlock);

    aBase = base(spec.a);
    bBase = base(spec.b);
    cBase = base(spec.c);
    if (spec.residual)
      residualBase = base(spec.residual);
    rest = rest / nTiles;
    for (size_t d = spec.batch.size(); d-- > 0;) {
      const GemmSpec::Batch &batch = spec.batch[d];
      V count = kb.size(batch.count);
      V index = d == 0 ? rest : rest % count;
      rest = rest / count;
      aBase = kb.at(aBase, index * kb.size(batch.strideA));
      bBase = kb.at(bBase, index * kb.size(batch.strideB));
      cBase = kb.at(cBase, index * kb.size(batch.strideC));
      if (spec.residual)
        residualBase =
            kb.at(residualBase, index * kb.size(batch.strideResidual));
    }
  }

  /// Brings rows of this tile, steps [k0, k0 + steps), into scratch.
  void loadA(V k0, V steps) {
    V lda = kb.size(spec.lda);
    if (spec.transA)
      emitTranspose(kb, kb.scratch, rowStride(kb.target),
                    kb.at(aBase, k0 * lda + m0), lda, steps, rows);
    else
      emitCopyRows(kb, kb.scratch, rowStride(kb.target),
                   kb.at(aBase, m0 * lda + k0), lda, rows, steps);
  }

  /// The slice of B for columns [column, column + NR).
  V panelOfB(V column, V k0, V steps) {
    if (spec.quantizedB) {
      V panel = kb.at(kb.scratch, blocking.panelB);
      emitDequantizedPanel(kb, spec, column, k0, steps, panel);
      return panel;
    }
    if (spec.packedB)
      return kb.at(bBase, column * k + k0 * nr); // column is a multiple of NR
    V panel = kb.at(kb.scratch, blocking.panelB);
    V ldb = kb.size(spec.ldb);
    V width = kb.minimum(n - column, kb.i(nr));
    if (spec.transB)
      emitTranspose(kb, panel, nr, kb.at(bBase, column * ldb + k0), ldb, width,
                    steps);
    else
      emitCopyRows(kb, panel, nr, kb.at(bBase, k0 * ldb + column), ldb, steps,
                   width);
    return panel;
  }

  /// The slice of packed B that follows `panel` in this tile, or in the next
  /// one.
  V sliceAfter(V panel, V column, V k0) {
    V nextK = k0 + kc;
    V firstOfNextBlock = kb.select(nextK < k, n0 * k + nextK * nr, n1 * k);
    return kb.select(column + nr < n1, kb.at(panel, k * nr),
                     kb.at(bBase, firstOfNextBlock));
  }

  /// Rows [first, end) of `sums`, row stride NR, which begins with row 0 of the tile.
  void finishRows(V sums, V column, V first, V end) {
    bool neverPartial = !spec.n.isDim && spec.n.value % nr == 0;
    if (neverPartial) {
      finishRows(sums, column, first, end, /*partial=*/false);
      return;
    }
    kb.ifThen(
        column + nr <= n, [&] { finishRows(sums, column, first, end, false); },
        [&] { finishRows(sums, column, first, end, true); });
  }

  void finishRows(V sums, V column, V first, V end, bool partial) {
    llvm::SmallVector<V> masks(kb.target.gemmNRVectors), biases;
    for (int64_t v = 0; v < kb.target.gemmNRVectors; ++v) {
      V position = column + v * kb.lanes();
      if (partial)
        masks[v] = kb.firstLanes(n - position);
      if (spec.bias)
        biases.push_back(
            kb.loadMaybeMasked(kb.at(base(spec.bias), position), masks[v]));
    }
    kb.loop(first, end, 1, [&](V r) {
      for (int64_t v = 0; v < kb.target.gemmNRVectors; ++v) {
        V position = column + v * kb.lanes();
        V x = kb.loadVec(kb.at(sums, r * nr + v * kb.lanes()));
        if (spec.alpha != 1.0)
          x = x * spec.alpha;
        if (spec.bias)
          x = x + biases[v];
        x = emitActivation(kb, spec.activation, x);
        if (spec.residual)
          x = x + kb.loadMaybeMasked(
                      kb.at(residualBase,
                            (m0 + r) * kb.size(spec.ldResidual) + position),
                      masks[v]);
        kb.storeMaybeMasked(
            x, kb.at(cBase, (m0 + r) * kb.size(spec.ldc) + position), masks[v]);
      }
    });
  }

  void emit() {
    locateTile();
    if (!spec.quantizedB || (!spec.m.isDim && spec.m.value > quantizedGemvRows))
      return emitBlocks();
    V few = m <= quantizedGemvRows;
    mlir::Type flag = few.type();
    V a = kb.at(aBase, m0 * kb.size(spec.lda));
    few = kb.ifThenElse(
        few, {flag}, [&] { return Values{emitQuantizedGemvInput(kb, spec, a, rows)}; }, [&] { return Values{few}; })[0];
    kb.ifThen(
        few,
        [&] {
          kb.loop(n0, n1, nr, [&](V column) {
            V sums = emitQuantizedGemvPanel(kb, spec, a, column, rows);
            finishRows(sums, column, kb.i(0), rows);
          });
        },
        [&] { emitBlocks(); });
  }

  void emitBlocks() {
    // At least one block, so that K = 0 gives zeros.
    V kBlocks = kb.maximum(kb.ceilDiv(k, kc), kb.i(1));
    kb.loop(kb.i(0), kBlocks, 1, [&](V kBlock) {
      V k0 = kBlock * kc;
      V steps = kb.minimum(k - k0, kb.i(kc));
      loadA(k0, steps);
      kb.loop(n0, n1, nr, [&](V column) {
        V sums = kb.at(kb.scratch, blocking.sums);
        if (!blocking.oneKBlock)
          sums = kb.at(sums, (column - n0) * blocking.mBlock);
        V panel = panelOfB(column, k0, steps);
        MicroArgs args{kb.scratch, panel, kb.i(nr),   sums,
                       kb.i(nr),   steps, kBlock > 0, V{}};
        if (spec.packedB && !spec.quantizedB)
          args.next = sliceAfter(panel, column, k0);
        emitRowPanels(kb, args, rows, [&](V first, V end) {
          kb.ifThen(kBlock + 1 == kBlocks,
                    [&] { finishRows(sums, column, first, end); });
        });
      });
    });
  }
};

} // namespace

SizeFormula gemmTiles(const GemmSpec &spec, const TargetInfo &target) {
  Blocking blocking(spec, target);
  SizeFormula tiles;
  for (const GemmSpec::Batch &batch : spec.batch)
    tiles.factors.push_back({batch.count, 1});
  tiles.factors.push_back({spec.n, blocking.nBlock});
  tiles.factors.push_back({spec.m, blocking.mBlock});
  return tiles;
}

SizeFormula gemmScratch(const GemmSpec &spec, const TargetInfo &target) {
  SizeFormula bytes;
  bytes.scale = Blocking(spec, target).total * 4;
  return bytes;
}

void emitGemm(KernelBuilder &kb, const GemmSpec &spec) {
  declareMicroKernels(kb);
  if (spec.quantizedB)
    declareQuantizedGemv(kb, spec);
  kb.beginKernel(spec.name);
  Emitter(kb, spec).emit();
  kb.finish();
}

} // namespace llmopt::cpu
