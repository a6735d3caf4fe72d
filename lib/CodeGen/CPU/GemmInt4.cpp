// int4 weights by int8 rows: which of the two ways a product takes.
#include "llmopt/CodeGen/CPU/Int4.h"

#include "Int4Tiles.h"
#include "RowLoops.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <algorithm>

using namespace mlir;

namespace llmopt::cpu {

V Int4Tiles::shiftRight(V value, int64_t bits) {
  return kb.wrap(arith::ShRUIOp::create(kb.builder, kb.loc, value.value, kb.intConstant(value.type(), bits).value));
}

V Int4Tiles::nibblesOf(V raw, int64_t half) {
  return reshape(half ? shiftRight(raw, 4) : raw, byteVector()) & kb.intConstant(byteVector(), 15);
}

V Int4Tiles::roundScales(V to, V addends) {
  V from = kb.at(base(spec.rowScale, kb.f32()), m0 * panel.groups);
  Values largest(rowPartialSums, kb.intConstant(kb.vecOf(kb.i32()), 0));
  largest = foldRow(kb, rows * panel.groups, largest, [&](V partial, V place, V mask) {
    V scale = kb.loadMaybeMasked(kb.at(from, place), mask), bits = kb.bitcast(scale, kb.i32());
    V rounded = kb.bitcast((bits + (((bits >> 2) & 1) + 1)) & -4, kb.f32());
    rounded = kb.select(scale == scale, rounded, scale);
    kb.storeMaybeMasked(rounded, kb.at(to, place), mask);
    if (addends)
      kb.storeMaybeMasked(rounded * -unit, kb.at(addends, place), mask);
    return kb.maximum(partial, bits);
  });
  return maxPartials(kb, largest);
}

std::string Int4Tiles::suffix() const {
  return "_k" + std::to_string(spec.k) + "_g" + std::to_string(spec.group) + (spec.scalePerGroup ? "" : "_token");
}

namespace {

/// One tiling for both ways: which of them a tile takes is decided when it runs.
struct Blocking {
  bool direct, unpacked;
  IntegerTiling tiling;
  int64_t scratch = 0;

  Blocking(const GemmInt4Spec &spec, const TargetInfo &t)
      : direct(!unpackedInt4Rows(t) || spec.m.isDim || spec.m.value <= fewRows || spec.scalePerGroup),
        unpacked(unpackedInt4Rows(t) && (spec.m.isDim || spec.m.value > fewRows)),
        tiling(spec, t.gemmNR(), t.gemmNRVectors, std::max(unpackedInt4Rows(t), directInt4Rows(t)), spec.k,
               int64_t(unpacked ? 512 : 256) << 10) {
    if (direct)
      scratch = directInt4Scratch(spec, tiling);
    if (unpacked)
      scratch = std::max(scratch, unpackedInt4Scratch(spec, tiling));
  }
};

} // namespace

SizeFormula gemmInt4Tiles(const GemmInt4Spec &spec, const TargetInfo &target) {
  return Blocking(spec, target).tiling.getTiles(spec);
}

SizeFormula gemmInt4Scratch(const GemmInt4Spec &spec, const TargetInfo &target) {
  SizeFormula bytes;
  bytes.scale = Blocking(spec, target).scratch;
  return bytes;
}

void emitGemmInt4(KernelBuilder &kb, const GemmInt4Spec &spec) {
  const Blocking blocking(spec, kb.target);
  std::unique_ptr<IntegerTiles> direct, unpacked;
  if (blocking.direct) {
    IntegerTiling tiling = blocking.tiling;
    tiling.mr = blocking.unpacked ? fewRows : directInt4Rows(kb.target);
    direct = makeDirectInt4(kb, spec, tiling);
    direct->declareFunctions();
  }
  if (blocking.unpacked) {
    unpacked = makeUnpackedInt4(kb, spec, blocking.tiling);
    unpacked->declareFunctions();
  }
  kb.beginKernel(spec.name);
  if (!unpacked)
    direct->emitTile();
  else if (!direct)
    unpacked->emitTile();
  else
    kb.ifThen(
        kb.size(spec.m) <= fewRows, [&] { direct->emitTile(); },
        [&] { unpacked->emitTile([&] { direct->emitTile(); }); });
  kb.finish();
}

} // namespace llmopt::cpu
