// int4 weights that are taken apart in registers. A is read in place: its bytes are what
// the multiply instructions take. A tile first sums the rows of A over each group, for
// what is subtracted from the nibbles.
#include "Int4Tiles.h"
#include "RowKernels.h"

using namespace mlir;

namespace llmopt::cpu {
namespace {

/// How bytes are multiplied.
enum class Multiply { Dpbusd, Maddubs, Widened };

Multiply multiplyOf(const TargetInfo &t) {
  if (hasByteDotProduct(t))
    return Multiply::Dpbusd;
  return t.isa == Isa::Avx512 || t.isa == Isa::Avx2 ? Multiply::Maddubs : Multiply::Widened;
}

/// Products of K that are summed in int16.
constexpr int64_t chunk = 32;

/// Scratch memory: of every row and group what its nibbles are corrected by, and its
/// scale; sums. In bytes.
struct Layout {
  int64_t scales, sums, total;

  Layout(const GemmInt4Spec &spec, const IntegerTiling &tiling) {
    scales = roundUp(tiling.mBlock * (spec.k / spec.group) * 4, 64);
    sums = scales * (spec.scalePerGroup ? 2 : 1);
    total = sums + tiling.mBlock * tiling.nr * 4;
  }
};

class DirectInt4Tiles : public Int4Tiles {
public:
  DirectInt4Tiles(KernelBuilder &kb, const GemmInt4Spec &spec, const IntegerTiling &tiling)
      : Int4Tiles(kb, spec, tiling, Layout(spec, tiling).sums), at(spec, tiling), multiply(multiplyOf(kb.target)) {}

  /// (a, row scales, corrections, panel, sums, next, nextStep)
  void declareFunctions() override {
    SmallVector<Type> types(6, kb.ptr());
    types.push_back(kb.i64());
    declareRowKernels(kb, rowsName(), types, tiling.mr,
                      [&](int64_t rows, ArrayRef<V> arguments) { emitRows(rows, arguments); });
  }

private:
  const Layout at;
  const Multiply multiply;

  std::string rowsName() const {
    return "gemm_w4a8" + suffix() + (spec.zeroPoints ? "_zero" : spec.offset ? "_signed" : "_unsigned") + "_rows";
  }

  /// What sums of at most 32 products are kept in: int32 with VNNI, else int16.
  Type partialType() {
    return multiply == Multiply::Dpbusd    ? kb.vecOf(kb.i32())
           : multiply == Multiply::Maddubs ? vector(2 * lanes, i16())
                                           : vector(4 * lanes, i16());
  }

  /// partial + products of nibbles with 4 bytes of A (the same in every lane).
  V multiplyAdd(V partial, V nibbles, V a) {
    a = reshape(a, byteVector());
    bool wide = kb.target.isa == Isa::Avx512;
    switch (multiply) {
    case Multiply::Dpbusd:
      return dotProduct(partial, nibbles, a);
    case Multiply::Maddubs:
      return partial + intrinsic(wide ? "llvm.x86.avx512.pmaddubs.w.512" : "llvm.x86.avx2.pmadd.ub.sw", partial.type(),
                                 {nibbles, a});
    case Multiply::Widened:
      return partial + kb.extendUnsigned(nibbles, i16()) * kb.convert(a, i16());
    }
    return partial;
  }

  /// One int32 per column of what multiplyAdd has summed.
  V widen(V partial) {
    if (multiply == Multiply::Dpbusd)
      return partial;
    if (multiply == Multiply::Maddubs)
      return intrinsic(kb.target.isa == Isa::Avx512 ? "llvm.x86.avx512.pmaddw.d.512" : "llvm.x86.avx2.pmadd.wd",
                       kb.vecOf(kb.i32()), {partial, kb.intConstant(partial.type(), 1)});
    auto every = [&](V value, int64_t first) { // every second element
      SmallVector<int64_t> order;
      for (int64_t i = first, n = cast<VectorType>(value.type()).getDimSize(0); i < n; i += 2)
        order.push_back(i);
      return kb.shuffle(value, value, order);
    };
    partial = every(partial, 0) + every(partial, 1); // 16 products: fits
    return kb.convert(every(partial, 0), kb.i32()) + kb.convert(every(partial, 1), kb.i32());
  }

  /// Carries `partials`, where B and A are read, and where B is fetched, over
  /// `products` elements of K.
  Values emitProducts(int64_t rows, int64_t products, Values carried, V nextStep) {
    const int64_t entry = tiling.nr * 4, perVector = lanes * 4;
    const bool ahead = rows <= fewRows;
    return kb.loop(kb.i(0), kb.i(products / 8), 1, carried, [&](V, ArrayRef<V> values) {
      Values next(values.begin(), values.end());
      V fetch = next.pop_back_val(), a = next.pop_back_val(), at = next.pop_back_val();
      for (int64_t line = 0; line < entry; line += 64)
        kb.prefetch(ahead ? bytes(at, prefetchDistance + line) : bytes(fetch, line), ahead ? 3 : 2);
      for (int64_t half = 0; half < 2; ++half) {
        SmallVector<V> columns;
        for (int64_t v = 0; v < tiling.vectors; ++v)
          columns.push_back(nibblesOf(kb.load(bytes(at, v * perVector), kb.vecOf(kb.i32())), half));
        for (int64_t r = 0; r < rows; ++r) {
          V factor = kb.splat(kb.load(bytes(a, r * spec.k + 4 * half), kb.i32()));
          for (int64_t v = 0; v < tiling.vectors; ++v)
            next[r * tiling.vectors + v] = multiplyAdd(next[r * tiling.vectors + v], columns[v], factor);
        }
      }
      next.push_back(bytes(at, entry));
      next.push_back(bytes(a, 8));
      next.push_back(ahead ? fetch : bytes(fetch, nextStep));
      return next;
    });
  }

  /// The integer sums of one group, [row][vector]; moves `places` (B, A, fetched B) on.
  Values emitGroup(int64_t rows, V corrections, V g, Values &places, V nextStep) {
    const int64_t count = rows * tiling.vectors;
    auto start = [&](int64_t r) {
      if (!spec.offset || spec.zeroPoints)
        return kb.intConstant(kb.vecOf(kb.i32()), 0);
      return kb.splat(kb.load(kb.at(corrections, g + r * panel.groups, kb.i32()), kb.i32()));
    };
    auto join = [&](Values values) {
      values.append(places.begin(), places.end());
      return values;
    };
    auto split = [&](Values values) {
      places.assign(values.end() - 3, values.end());
      values.resize(count);
      return values;
    };
    auto addChunk = [&](Values total) {
      Values partials =
          split(emitProducts(rows, chunk, join(Values(count, kb.intConstant(partialType(), 0))), nextStep));
      for (int64_t i = 0; i < count; ++i)
        total[i] = (total[i] ? total[i] : start(i / tiling.vectors)) + widen(partials[i]);
      return total;
    };
    // Started behind the products: in front of them LLVM would load into scalar registers.
    if (multiply != Multiply::Dpbusd && spec.group == chunk)
      return addChunk(Values(count));
    Values sums;
    for (int64_t i = 0; i < count; ++i)
      sums.push_back(start(i / tiling.vectors));
    if (multiply == Multiply::Dpbusd)
      return split(emitProducts(rows, spec.group, join(sums), nextStep));
    return split(kb.loop(kb.i(0), kb.i(spec.group / chunk), 1, join(sums), [&](V, ArrayRef<V> carried) {
      places.assign(carried.end() - 3, carried.end());
      return join(addChunk(Values(carried.begin(), carried.begin() + count)));
    }));
  }

  void emitRows(int64_t rows, ArrayRef<V> arguments) {
    V a = arguments[0], rowScales = arguments[1], corrections = arguments[2], out = arguments[4],
      nextStep = arguments[6];
    const int64_t count = rows * tiling.vectors;
    Values carried(count, kb.splatConstant(0)); // spilled around the innermost loop, if at all
    carried.append({arguments[3], a, arguments[5]});
    carried = kb.loop(kb.i(0), kb.i(panel.groups), 1, carried, [&](V g, ArrayRef<V> values) {
      Values floats(values.begin(), values.end() - 3), places(values.end() - 3, values.end());
      V head = places[0];
      if (rows <= fewRows)
        for (int64_t line = 0; line < panel.header; line += 64)
          kb.prefetch(bytes(head, prefetchDistance + line));
      places[0] = bytes(head, panel.header);
      Values sums = emitGroup(rows, corrections, g, places, nextStep);
      for (int64_t r = 0; r < rows; ++r) {
        V rowScale, rowSum;
        if (spec.scalePerGroup)
          rowScale = kb.splat(kb.load(kb.at(rowScales, g + r * panel.groups)));
        if (spec.zeroPoints)
          rowSum = kb.splat(kb.load(kb.at(corrections, g + r * panel.groups)));
        for (int64_t v = 0; v < tiling.vectors; ++v) {
          int64_t i = r * tiling.vectors + v;
          V x = kb.toFloat(sums[i], kb.f32());
          if (spec.zeroPoints) // integers below 2^24 (G <= 4096): exact
            x = kb.fma(rowSum, kb.loadVec(kb.at(head, tiling.nr + v * lanes)), x);
          if (rowScale)
            x = x * rowScale;
          floats[i] = kb.fma(x, kb.loadVec(kb.at(head, v * lanes)), floats[i]);
        }
      }
      floats.append(places.begin(), places.end());
      return floats;
    });
    for (int64_t i = 0; i < count; ++i)
      kb.store(carried[i], kb.at(out, i / tiling.vectors * tiling.nr + i % tiling.vectors * lanes));
  }

  V prepareRows() override {
    if (spec.scalePerGroup)
      roundScales(bytes(kb.scratch, at.scales), V());
    if (spec.zeroPoints || spec.offset)
      sumGroups();
    return {};
  }

  /// For every row and group -offset times the sum of A as int32, or, with zero
  /// points, minus the sum as f32.
  void sumGroups() {
    V source = base(spec.a, kb.i8());
    kb.loop(kb.i(0), rows, 1, [&](V r) {
      kb.loop(kb.i(0), kb.i(panel.groups), 1, [&](V g) {
        V from = bytes(source, (m0 + r) * spec.k + g * spec.group);
        Values total{kb.intConstant(vector(8, kb.i32()), 0)};
        total = kb.loop(kb.i(0), kb.i(spec.group), chunk, total, [&](V k, ArrayRef<V> carried) {
          V x = kb.convert(kb.load(bytes(from, k), vector(chunk, kb.i8())), i16());
          for (int64_t width = chunk / 2; width >= 8; width /= 2)
            x = kb.shuffle(x, x, llvm::to_vector(llvm::seq<int64_t>(0, width))) +
                kb.shuffle(x, x, llvm::to_vector(llvm::seq<int64_t>(width, 2 * width)));
          return Values{carried[0] + kb.convert(x, kb.i32())};
        });
        V sum = kb.reduceAdd(total[0]), to = kb.at(kb.scratch, r * panel.groups + g, kb.i32());
        kb.store(spec.zeroPoints ? kb.toFloat(0 - sum, kb.f32()) : sum * -spec.offset, to);
      });
    });
  }

  void multiplyPanel(V column) override {
    const int64_t steps = spec.k / 8;
    V a = bytes(base(spec.a, kb.i8()), m0 * spec.k), weights = panelAt(column), scales = bytes(kb.scratch, at.scales);
    forRowPanels(kb, rows, tiling.mr, [&](V first, V end, V p, V panels) {
      // The panel that follows is fetched by all row panels together.
      V nextStep = (kb.i((panel.bytes + steps - 1) / steps) + (panels - 1)) / panels;
      kb.call(rowsName(), {bytes(a, first * spec.k), kb.at(scales, first * panel.groups),
                           kb.at(kb.scratch, first * panel.groups), weights, kb.at(sums(), first * tiling.nr),
                           bytes(weights, p * nextStep * steps + panel.bytes), nextStep, end - first});
      finishRows(column, first, end);
    });
  }
};

} // namespace

/// One accumulator per row and vector (two where products are widened), the two halves
/// of each vector of B, one vector of A and a product.
int64_t directInt4Rows(const TargetInfo &t) {
  switch (t.isa) {
  case Isa::Avx512:
    return 8;
  case Isa::Avx2:
    return 4;
  case Isa::Neon:
    return 2;
  case Isa::Baseline:
    return 1;
  }
  return 1;
}

int64_t directInt4Scratch(const GemmInt4Spec &spec, const IntegerTiling &tiling) { return Layout(spec, tiling).total; }

std::unique_ptr<IntegerTiles> makeDirectInt4(KernelBuilder &kb, const GemmInt4Spec &spec, const IntegerTiling &tiling) {
  return std::make_unique<DirectInt4Tiles>(kb, spec, tiling);
}

} // namespace llmopt::cpu
