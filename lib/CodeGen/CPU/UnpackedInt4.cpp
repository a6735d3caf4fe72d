// int4 weights that are taken apart once for all rows of a tile. Bytes of A + 128 are the
// unsigned side of vpdpbusd, u - z the signed one, so that a group's correction is
// -128 times the sum of its weights: the same for all rows, and where sums begin. Sums
// of a group fill the registers; those of all groups are floats in the L1 cache.
//
// With scales of rows per group, sums begin at the bits of `unit` and so are those of
// unit + sum, of which one fused multiply-add makes the rounded sum * scale: unit * scale
// is exact, scales having 22 bits. A conversion and a multiplication less were it not for
// scales so large that the product overflows: such tiles are left to DirectInt4.
#include "Int4Tiles.h"
#include "RowKernels.h"

#include <algorithm>

using namespace mlir;

namespace llmopt::cpu {
namespace {

constexpr int64_t unitBits = 0x4B400000;

/// Steps of K that are taken apart at a time: they stay in the L1 cache.
constexpr int64_t depth = 512;

/// Scratch memory: rows of A, their scales, what takes `unit` off, a part of a panel,
/// sums. In bytes.
struct Layout {
  int64_t stride;           // between rows of A
  int64_t header, block;    // of a group: starts of sums and scales; with weights
  int64_t parts, maxGroups; // of a panel: parts, groups in the largest of them
  int64_t scales, addends, panel, sums, total;

  Layout(const GemmInt4Spec &spec, const IntegerTiling &tiling) {
    const int64_t groups = spec.k / spec.group;
    stride = scratchStride(spec.k);
    header = tiling.nr * 8;
    block = header + tiling.nr * spec.group;
    parts = (groups + std::max<int64_t>(1, depth / spec.group) - 1) / std::max<int64_t>(1, depth / spec.group);
    maxGroups = (groups + parts - 1) / parts;
    scales = tiling.mBlock * stride;
    const int64_t scaleBytes = spec.scalePerGroup ? roundUp(tiling.mBlock * groups * 4, 64) : 0;
    addends = scales + scaleBytes;
    panel = addends + scaleBytes;
    sums = panel + maxGroups * block;
    total = sums + tiling.mBlock * tiling.nr * 4;
  }
};

class UnpackedInt4Tiles : public Int4Tiles {
public:
  UnpackedInt4Tiles(KernelBuilder &kb, const GemmInt4Spec &spec, const IntegerTiling &tiling)
      : Int4Tiles(kb, spec, tiling, Layout(spec, tiling).sums), at(spec, tiling),
        high(!spec.zeroPoints && spec.offset == 8),
        placed(spec.scalePerGroup && spec.group * 128 * (high ? 16 * 8 : 15) < 1 << 22) {}

  /// (a, row scales, addends, part of a panel, its groups, sums, sums, next, nextStep, c,
  /// bytes between rows of c): adds to sums. At `next` and each nextStep bytes on what
  /// follows is brought into the L2 cache, and rows of c for writing, of which all groups
  /// of a panel see to all. Sums come twice, to be read and to be written: known to be the
  /// same, LLVM would carry them in registers, of which there are none left.
  void declareFunctions() override {
    SmallVector<Type> types(11, kb.ptr());
    types[4] = types[8] = types[10] = kb.i64();
    declareRowKernels(kb, rowsName(), types, tiling.mr,
                      [&](int64_t rows, ArrayRef<V> arguments) { emitRows(rows, arguments); });
  }

private:
  const Layout at;
  const bool high;   // nibbles are signed ones in the high half of bytes, 16 times u - 8
  const bool placed; // sums are bits of floats

  std::string rowsName() const {
    return std::string("gemm_w4a8_unpacked") + (placed ? "" : "_converted") + suffix() + "_rows";
  }
  Type intVector() { return kb.vecOf(kb.i32()); }
  int64_t entry() const { return tiling.nr * 4; } // bytes per 4 steps of K

  void emitRows(int64_t rows, ArrayRef<V> arguments) {
    V in = arguments[5], out = arguments[6], nextStep = arguments[8], rowOfC = arguments[10];
    const int64_t count = rows * tiling.vectors, rowsPerGroup = (rows + panel.groups - 1) / panel.groups;
    Values state{arguments[0], arguments[1], arguments[2], arguments[3], arguments[7], arguments[9]};
    kb.loop(kb.i(0), arguments[4], 1, state, [&](V, ArrayRef<V> places) {
      V rowScales = places[1], addends = places[2], head = places[3], c = places[5];
      // Stores that miss the caches would hold up those of the sums behind them.
      for (int64_t r = 0; r < rowsPerGroup; ++r, c = bytes(c, rowOfC))
        for (int64_t line = 0; line < tiling.nr * 4; line += 64)
          kb.prefetch(bytes(c, line), /*locality=*/3, /*toWrite=*/true);
      Values carried;
      for (int64_t i = 0; i < count; ++i)
        carried.push_back(kb.load(kb.at(head, i % tiling.vectors * lanes), intVector()));
      carried.append({places[0], bytes(head, at.header), places[4]});
      carried = kb.loop(kb.i(0), kb.i(spec.group / 4 - 1), 1, carried,
                        [&](V, ArrayRef<V> values) { return emitStep(rows, values, nextStep); });
      SmallVector<V> columnScales;
      for (int64_t v = 0; v < tiling.vectors; ++v)
        columnScales.push_back(kb.loadVec(kb.at(head, tiling.nr + v * lanes)));
      Values end = emitStep(rows, carried, nextStep, [&](int64_t r, int64_t v, V sum) {
        V x = scaleByRow(sum, kb.at(rowScales, r * panel.groups), kb.at(addends, r * panel.groups));
        const int64_t place = r * tiling.nr + v * lanes;
        kb.store(kb.fma(x, columnScales[v], kb.loadVec(kb.at(in, place))), kb.at(out, place));
      });
      V fetch = end.pop_back_val(), next = end.pop_back_val(), nextA = end.pop_back_val();
      return Values{nextA, kb.at(rowScales, 1), kb.at(addends, 1), next, fetch, c};
    });
  }

  V scaleByRow(V sum, V scale, V addend) {
    if (!spec.scalePerGroup)
      return kb.toFloat(sum, kb.f32());
    if (placed)
      return kb.fma(kb.bitcast(sum, kb.f32()), kb.splat(kb.load(scale)), kb.splat(kb.load(addend)));
    return kb.toFloat(sum, kb.f32()) * kb.splat(kb.load(scale));
  }

  /// Four steps of K. `values`: sums, where A and B are read, where B is fetched.
  /// `finish` takes the sums of a group as they are ready: many stores at once would fill
  /// the queue for them and hold up what follows.
  Values emitStep(int64_t rows, ArrayRef<V> values, V nextStep,
                  llvm::function_ref<void(int64_t, int64_t, V)> finish = {}) {
    Values next(values.begin(), values.end());
    V fetch = next.pop_back_val(), from = next.pop_back_val(), a = next.pop_back_val();
    kb.prefetch(fetch, /*locality=*/2);
    SmallVector<V> columns;
    for (int64_t v = 0; v < tiling.vectors; ++v)
      columns.push_back(kb.load(bytes(from, v * lanes * 4), byteVector()));
    for (int64_t r = 0; r < rows; ++r) {
      V factor = reshape(kb.splat(kb.load(bytes(a, r * at.stride), kb.i32())), byteVector());
      for (int64_t v = 0; v < tiling.vectors; ++v) {
        V &sum = next[r * tiling.vectors + v];
        sum = dotProduct(sum, factor, columns[v]);
        if (finish)
          finish(r, v, sum);
      }
    }
    next.append({bytes(a, 4), bytes(from, entry()), bytes(fetch, nextStep)});
    return next;
  }

  V prepareRows() override {
    copyRows(at.stride, 1, [&](V q) { return q ^ kb.intConstant(q.type(), -128); });
    kb.loop(kb.i(0), rows * tiling.nr, lanes, [&](V i) { kb.store(kb.splatConstant(0), kb.at(sums(), i)); });
    if (!spec.scalePerGroup)
      return {};
    V largest = roundScales(bytes(kb.scratch, at.scales), placed ? bytes(kb.scratch, at.addends) : V());
    return largest <= 0x7149f2ca; // of 1e30f
  }

  /// Leaves zeros behind for the next panel: the line is in the cache now.
  V scaleSums(V from, V row, ArrayRef<V> columns) override {
    V x = Int4Tiles::scaleSums(from, row, columns);
    kb.store(kb.splatConstant(0), from);
    return x;
  }

  /// An operation less than to take 8 off, two for the nibbles that lie high already.
  V highNibblesOf(V dwords, int64_t half) {
    if (!half)
      dwords = dwords << kb.like(dwords, 4);
    V bits = reshape(dwords, byteVector());
    return (bits & kb.intConstant(byteVector(), -16)) ^ kb.intConstant(byteVector(), -128);
  }

  /// `groups` groups from `from` on: u - z as bytes, and what sums begin with.
  void unpack(V from, V groups) {
    kb.loop(kb.i(0), groups, 1, [&](V g) {
      V head = bytes(from, g * panel.block), to = bytes(kb.scratch, g * at.block + at.panel);
      SmallVector<V> zeros(tiling.vectors);
      for (int64_t v = 0; v < tiling.vectors; ++v) {
        V scale = kb.loadVec(kb.at(head, v * lanes));
        kb.store(high ? scale * 0x1p-4 : scale, kb.at(to, tiling.nr + v * lanes));
        if (spec.zeroPoints) // 0 .. 15, in every byte
          zeros[v] =
              reshape(kb.convert(kb.loadVec(kb.at(head, tiling.nr + v * lanes)), kb.i32()) * 0x01010101, byteVector());
        else if (spec.offset && !high)
          zeros[v] = kb.intConstant(byteVector(), spec.offset);
      }
      // 32 steps of K; sums of the two halves of dwords are chains of their own.
      auto part = [&](ArrayRef<V> values, V raw, V place) {
        Values sums(values.begin(), values.end());
        for (int64_t step = 0; step < 4; ++step)
          for (int64_t v = 0; v < tiling.vectors; ++v) {
            V dwords = kb.load(bytes(raw, step * entry() + v * lanes * 4), intVector());
            for (int64_t half = 0; half < 2; ++half) {
              V q = high ? highNibblesOf(dwords, half) : nibblesOf(dwords, half), &sum = sums[2 * v + half];
              if (zeros[v])
                q = q - zeros[v];
              kb.store(q, bytes(place, (2 * step + half) * entry() + v * lanes * 4));
              sum = dotProduct(sum, kb.intConstant(byteVector(), -128), q); // 128, unsigned
            }
          }
        return sums;
      };
      Values sums(2 * tiling.vectors, kb.intConstant(intVector(), 0));
      V raw = bytes(head, panel.header), place = bytes(to, at.header);
      if (spec.group == 32)
        sums = part(sums, raw, place);
      else
        sums = kb.loop(kb.i(0), kb.i(spec.group / 32), 1, sums, [&](V i, ArrayRef<V> carried) {
          return part(carried, bytes(raw, i * (4 * entry())), bytes(place, i * (8 * entry())));
        });
      for (int64_t v = 0; v < tiling.vectors; ++v)
        kb.store((placed ? unitBits : 0) - (sums[2 * v] + sums[2 * v + 1]), kb.at(to, v * lanes));
    });
  }

  void multiplyPanel(V column) override {
    V weights = panelAt(column);
    kb.loop(kb.i(0), kb.i(at.parts), 1, [&](V part) {
      V g0 = part * panel.groups / at.parts, groups = (part + 1) * panel.groups / at.parts - g0;
      V from = bytes(weights, g0 * panel.block);
      unpack(from, groups);
      V follows = bytes(from, groups * panel.block), steps = groups * (spec.group / 4);
      forRowPanels(kb, rows, tiling.mr, [&](V first, V end, V p, V panels) {
        // The part that follows is fetched by all row panels together.
        V nextStep = (kb.i((panel.block * 4 + spec.group - 1) / spec.group) + (panels - 1)) / panels;
        V own = kb.at(sums(), first * tiling.nr), scale = first * panel.groups + g0;
        V rowOfC = m0 + first + g0 * ((tiling.mr + panel.groups - 1) / panel.groups);
        kb.call(rowsName(),
                {bytes(kb.scratch, first * at.stride + g0 * spec.group), kb.at(bytes(kb.scratch, at.scales), scale),
                 kb.at(bytes(kb.scratch, at.addends), scale), bytes(kb.scratch, at.panel), groups, own, own,
                 bytes(follows, p * nextStep * steps), nextStep,
                 kb.at(base(shape.c, kb.f32()), rowOfC * shape.n + column), kb.i(4 * shape.n), end - first});
        kb.ifThen(part + 1 == kb.i(at.parts), [&] { finishRows(column, first, end); });
      });
    });
  }
};

} // namespace

/// 26 sums, two vectors of B, one of A, and three that scale: a row more would spill.
int64_t unpackedInt4Rows(const TargetInfo &target) { return hasByteDotProduct(target) ? 13 : 0; }

int64_t unpackedInt4Scratch(const GemmInt4Spec &spec, const IntegerTiling &tiling) {
  return Layout(spec, tiling).total;
}

std::unique_ptr<IntegerTiles> makeUnpackedInt4(KernelBuilder &kb, const GemmInt4Spec &spec,
                                               const IntegerTiling &tiling) {
  return std::make_unique<UnpackedInt4Tiles>(kb, spec, tiling);
}

} // namespace llmopt::cpu
