// The two ways to multiply int8 rows by int4 weights. Private to this library.
#ifndef LLMOPT_LIB_CODEGEN_CPU_INT4TILES_H
#define LLMOPT_LIB_CODEGEN_CPU_INT4TILES_H

#include "IntegerTiles.h"
#include "llmopt/CodeGen/CPU/Int4.h"

#include <memory>

namespace llmopt::cpu {

/// An integer below 2^22 added to the bits of this float is added to its value, too.
constexpr double unit = 12582912; // 1.5 * 2^23

/// Of packed weights, in bytes.
struct Int4Panel {
  int64_t groups;        // blocks per panel
  int64_t header, block; // scales and zero points; with nibbles
  int64_t bytes;

  Int4Panel(const GemmInt4Spec &spec, int64_t nr)
      : groups(spec.k / spec.group), header(nr * (spec.zeroPoints ? 8 : 4)),
        block(int4BlockBytes(nr, spec.group, spec.zeroPoints)), bytes(groups * block) {}
};

/// Sums are floats: only what rows have one scale for is left to do.
class Int4Tiles : public IntegerTiles {
protected:
  Int4Tiles(KernelBuilder &kb, const GemmInt4Spec &spec, const IntegerTiling &tiling, int64_t sumsOffset)
      : IntegerTiles(kb, spec, tiling, sumsOffset), spec(spec), panel(spec, tiling.nr) {}

  Values loadColumns(V, V) override { return {}; }
  V loadRow(V row) override {
    return spec.scalePerGroup ? V() : kb.splat(kb.load(kb.at(base(spec.rowScale, kb.f32()), row)));
  }
  V scaleSums(V from, V row, llvm::ArrayRef<V>) override {
    V x = kb.loadVec(from);
    return row ? x * row : x;
  }
  /// Rounds the scales of all rows to 22 bits, [rows][K/G] at `to`, and gives the bits of
  /// the largest. At `addends`, if any, -unit times each, exactly.
  V roundScales(V to, V addends);
  V panelAt(V column) { return bytes(base(spec.b, kb.i8()), column / tiling.nr * panel.bytes); }
  V shiftRight(V value, int64_t bits);
  V nibblesOf(V raw, int64_t half); // of dwords, as bytes
  mlir::Type byteVector() { return vector(4 * lanes, kb.i8()); }
  /// "_k768_g32": what every row kernel depends on.
  std::string suffix() const;

  const GemmInt4Spec &spec;
  const Int4Panel panel;
};

/// Takes nibbles apart in registers, for every register tile of rows anew.
int64_t directInt4Rows(const TargetInfo &target); // of the register tile
int64_t directInt4Scratch(const GemmInt4Spec &spec, const IntegerTiling &tiling);
std::unique_ptr<IntegerTiles> makeDirectInt4(KernelBuilder &kb, const GemmInt4Spec &spec, const IntegerTiling &tiling);

/// Takes them apart once for all rows of a tile, into scratch memory, in the layout that
/// vpdpbusd takes.
int64_t unpackedInt4Rows(const TargetInfo &target); // 0: not on this target
int64_t unpackedInt4Scratch(const GemmInt4Spec &spec, const IntegerTiling &tiling);
std::unique_ptr<IntegerTiles> makeUnpackedInt4(KernelBuilder &kb, const GemmInt4Spec &spec,
                                               const IntegerTiling &tiling);

} // namespace llmopt::cpu
#endif
