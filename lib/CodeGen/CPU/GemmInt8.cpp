// int8 weights. A tile brings its rows of A into scratch memory once, in the form that
// the multiply instruction reads. K is not blocked: a panel of B is a quarter of the
// f32 one, and partial sums would have to go through memory.
#include "llmopt/CodeGen/CPU/Int8.h"

#include "IntegerTiles.h"
#include "RowKernels.h"

using namespace mlir;

namespace llmopt::cpu {

Int8Layout gemmInt8Layout(const TargetInfo &target) {
  return hasByteDotProduct(target) ? Int8Layout::Quads : Int8Layout::Pairs;
}

static constexpr int64_t nrVectors = 2;
int64_t gemmInt8NR(const TargetInfo &target) { return nrVectors * target.lanes; }

namespace {

/// Rows of the register tile. Accumulators, two vectors of B, one of A and, where
/// products are added by an instruction of their own, one for them.
int64_t tileRowCount(const TargetInfo &t) {
  switch (t.isa) {
  case Isa::Avx512:
    return gemmInt8Layout(t) == Int8Layout::Quads ? 14 : 13;
  case Isa::Avx2:
    return 6;
  case Isa::Neon:
    return 8;
  case Isa::Baseline:
    return 4; // bytes are widened by two more instructions
  }
  return 4;
}

/// Tile shape and scratch memory, in bytes: rows of A, then sums.
struct Blocking {
  Int8Layout layout;
  int64_t steps;  // reduction steps: of 4 or 2 elements of K, 4 bytes of A
  int64_t stride; // between rows of A
  IntegerTiling tiling;
  int64_t sums, total;

  Blocking(const GemmInt8Spec &spec, const TargetInfo &t)
      : layout(gemmInt8Layout(t)), steps((spec.k + stepSize() - 1) / stepSize()), stride(scratchStride(4 * steps)),
        tiling(spec, gemmInt8NR(t), nrVectors, tileRowCount(t), stride), sums(tiling.mBlock * stride),
        total(sums + tiling.mBlock * tiling.nr * 4) {}
  int64_t stepSize() const { return layout == Int8Layout::Quads ? 4 : 2; }
};

class Int8Tiles : public IntegerTiles {
public:
  Int8Tiles(KernelBuilder &kb, const GemmInt8Spec &spec, const Blocking &b)
      : IntegerTiles(kb, spec, b.tiling, b.sums), spec(spec), b(b), quads(b.layout == Int8Layout::Quads),
        entry(tiling.nr * b.stepSize()) {}

  /// (a, b, sums, next, nextStep): `rows` rows of A with one panel of B. Each step
  /// brings the line at `next` into the L2 cache and moves on by nextStep bytes; or,
  /// for a few rows, what will be read of this panel and those behind it.
  void declareFunctions() override {
    declareRowKernels(kb, name(), {kb.ptr(), kb.ptr(), kb.ptr(), kb.ptr(), kb.i64()}, tiling.mr,
                      [&](int64_t rows, ArrayRef<V> arguments) { emitRows(rows, arguments); });
  }

private:
  const GemmInt8Spec &spec;
  const Blocking &b;
  const bool quads;
  const int64_t entry; // bytes of B per step

  std::string name() { return "gemm_s8_k" + std::to_string(spec.k) + "_rows"; }

  /// sum + the products of 4 bytes of A (in every lane) with those of B.
  V multiplyAdd(V sum, V a, V bVector) {
    if (quads)
      return dotProduct(sum, reshape(a, vector(4 * lanes, kb.i8())), bVector);
    a = reshape(a, vector(2 * lanes, i16()));
    if (kb.target.isa != Isa::Neon) {
      const char *name = kb.target.isa == Isa::Avx512 ? "llvm.x86.avx512.pmaddw.d.512"
                         : kb.target.isa == Isa::Avx2 ? "llvm.x86.avx2.pmadd.wd"
                                                      : "llvm.x86.sse2.pmadd.wd";
      return sum + intrinsic(name, sum.type(), {a, bVector});
    }
    V product = a * bVector; // of bytes: fits int16
    SmallVector<int64_t> even, odd;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      even.push_back(2 * lane);
      odd.push_back(2 * lane + 1);
    }
    return sum + (kb.convert(kb.shuffle(product, product, even), kb.i32()) +
                  kb.convert(kb.shuffle(product, product, odd), kb.i32()));
  }

  V loadB(V pointer) {
    if (quads)
      return kb.load(pointer, vector(4 * lanes, kb.i8()));
    return kb.convert(kb.load(pointer, vector(2 * lanes, kb.i8())), i16());
  }

  void emitRows(int64_t rows, ArrayRef<V> arguments) {
    V a = arguments[0], panel = arguments[1], out = arguments[2], next0 = arguments[3], nextStep = arguments[4];
    const int64_t perVector = entry / nrVectors;
    Type sumType = kb.vecOf(kb.i32());
    Values sums;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t v = 0; v < nrVectors; ++v)
        sums.push_back(quads ? kb.load(kb.at(panel, v * lanes), sumType) : kb.intConstant(sumType, 0));
    sums.push_back(quads ? bytes(panel, entry) : panel);
    sums.push_back(next0);
    sums = kb.loop(kb.i(0), kb.i(b.steps), 1, sums, [&](V step, ArrayRef<V> carried) {
      Values next(carried.begin(), carried.end());
      V ahead = next.pop_back_val(), at = next.pop_back_val();
      if (rows > fewRows)
        kb.prefetch(ahead, /*locality=*/2);
      else
        for (int64_t line = 0; line < entry; line += 64)
          kb.prefetch(bytes(at, prefetchDistance + line));
      SmallVector<V> columns;
      for (int64_t v = 0; v < nrVectors; ++v)
        columns.push_back(loadB(bytes(at, v * perVector)));
      V column = bytes(a, step * 4);
      for (int64_t r = 0; r < rows; ++r) {
        V factor = kb.splat(kb.load(bytes(column, r * b.stride), kb.i32()));
        for (int64_t v = 0; v < nrVectors; ++v)
          next[r * nrVectors + v] = multiplyAdd(next[r * nrVectors + v], factor, columns[v]);
      }
      next.push_back(bytes(at, entry));
      next.push_back(bytes(ahead, nextStep));
      return next;
    });
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t v = 0; v < nrVectors; ++v)
        kb.store(sums[r * nrVectors + v], kb.at(out, r * tiling.nr + v * lanes));
  }

  /// Shifted bytes, or int16. What lies between K and the last step meets zeros of B.
  V prepareRows() override {
    copyRows(b.stride, quads ? 1 : 2,
             [&](V q) { return quads ? q ^ kb.intConstant(q.type(), -128) : kb.convert(q, i16()); });
    return {};
  }

  void multiplyPanel(V column) override {
    const int64_t panelBytes = (quads ? 1 + b.steps : b.steps) * entry;
    V panel = bytes(base(spec.b, kb.i8()), column / tiling.nr * panelBytes);
    forRowPanels(kb, rows, tiling.mr, [&](V first, V end, V p, V panels) {
      // The panel that follows is fetched by all row panels together. With one of them
      // the hardware does it: then one line that is there.
      V shared = panels > 1;
      V nextStep = kb.select(shared, (kb.i(panelBytes / b.steps) + (panels - 1)) / panels, kb.i(0));
      V next = kb.select(shared, bytes(panel, p * nextStep * b.steps + panelBytes), panel);
      kb.call(name(), {bytes(kb.scratch, first * b.stride), panel, kb.at(sums(), first * tiling.nr), next, nextStep,
                       end - first});
      finishRows(column, first, end);
    });
  }

  /// A vector of int32, of lanes of `mask` where there is one.
  V loadInts(V pointer, V mask) {
    Type type = kb.vecOf(kb.i32());
    return mask ? kb.loadMasked(pointer, mask, kb.intConstant(type, 0)) : kb.load(pointer, type);
  }

  Values loadColumns(V position, V mask) override {
    Values columns{kb.loadMaybeMasked(kb.at(base(spec.columnScale, kb.f32()), position), mask)};
    if (spec.zeroPoint) {
      V zero = kb.splat(kb.convert(kb.load(base(spec.zeroPoint, kb.i8()), kb.i8()), kb.i32()));
      columns.push_back(zero * loadInts(kb.at(base(spec.columnSums, kb.i32()), position, kb.i32()), mask));
    }
    return columns;
  }

  V loadRow(V row) override {
    V scales = base(spec.rowScale, kb.f32());
    return kb.splat(kb.load(spec.oneScale ? scales : kb.at(scales, row)));
  }

  V scaleSums(V from, V row, ArrayRef<V> columns) override {
    V sum = kb.load(from, kb.vecOf(kb.i32()));
    if (spec.zeroPoint)
      sum = sum - columns[1];
    return kb.toFloat(sum, kb.f32()) * (row * columns[0]);
  }
};

} // namespace

SizeFormula gemmInt8Tiles(const GemmInt8Spec &spec, const TargetInfo &target) {
  return Blocking(spec, target).tiling.getTiles(spec);
}

SizeFormula gemmInt8Scratch(const GemmInt8Spec &spec, const TargetInfo &target) {
  SizeFormula bytes;
  bytes.scale = Blocking(spec, target).total;
  return bytes;
}

void emitGemmInt8(KernelBuilder &kb, const GemmInt8Spec &spec) {
  const Blocking blocking(spec, kb.target);
  Int8Tiles tiles(kb, spec, blocking);
  tiles.declareFunctions();
  kb.beginKernel(spec.name);
  tiles.emitTile();
  kb.finish();
}

} // namespace llmopt::cpu
