// Tiles of products of int8 rows, and the float end of their sums.
#include "IntegerTiles.h"

#include "llmopt/CodeGen/CPU/Gemm.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <algorithm>

using namespace mlir;

namespace llmopt::cpu {

IntegerTiling::IntegerTiling(const IntegerGemmSpec &spec, int64_t nr, int64_t vectors, int64_t mr, int64_t bytesPerRow,
                             int64_t cacheBytes)
    : nr(nr), vectors(vectors), mr(mr) {
  mBlock = spec.mBlock ? spec.mBlock : std::clamp<int64_t>(cacheBytes / bytesPerRow, mr, 128);
  if (!spec.m.isDim)
    mBlock = std::min(mBlock, std::max<int64_t>(1, spec.m.value));
  nBlock = roundUp(spec.nBlock ? spec.nBlock : 192, nr);
  int64_t blocks = (spec.n + nBlock - 1) / nBlock;
  nBlock = roundUp((spec.n + blocks - 1) / blocks, nr);
}

SizeFormula IntegerTiling::getTiles(const IntegerGemmSpec &spec) const {
  SizeFormula tiles;
  tiles.factors.push_back({Size(spec.n), nBlock});
  tiles.factors.push_back({spec.m, mBlock});
  return tiles;
}

V IntegerTiles::reshape(V value, Type type) {
  return kb.wrap(vector::BitCastOp::create(kb.builder, kb.loc, cast<VectorType>(type), value.value));
}

V IntegerTiles::intrinsic(const char *name, Type type, ArrayRef<V> operands) {
  SmallVector<Value> values;
  for (V operand : operands)
    values.push_back(operand.value);
  auto call = LLVM::CallIntrinsicOp::create(kb.builder, kb.loc, type, kb.builder.getStringAttr(name), values);
  return kb.wrap(call.getResult(0));
}

void IntegerTiles::emitTile(llvm::function_ref<void()> otherwise) {
  V m = kb.size(shape.m), mTiles = kb.ceilDiv(m, tiling.mBlock);
  V mTile = kb.tile % mTiles, nTile = kb.tile / mTiles;
  m0 = m * mTile / mTiles;
  rows = m * (mTile + 1) / mTiles - m0;
  V n0 = nTile * tiling.nBlock, n1 = kb.minimum(kb.i(shape.n), n0 + tiling.nBlock);
  auto multiply = [&] { kb.loop(n0, n1, tiling.nr, [&](V column) { multiplyPanel(column); }); };
  V fit = prepareRows();
  if (fit)
    kb.ifThen(fit, multiply, otherwise);
  else
    multiply();
}

void IntegerTiles::copyRows(int64_t stride, int64_t size, llvm::function_ref<V(V)> convert) {
  V source = base(shape.a, kb.i8());
  kb.loop(kb.i(0), rows, 1, [&](V r) {
    V from = bytes(source, (m0 + r) * shape.k), to = bytes(kb.scratch, r * stride);
    auto copy = [&](V k, Type type) { kb.store(convert(kb.load(bytes(from, k), type)), bytes(to, k * size)); };
    int64_t width = 4 / size * lanes, done = shape.k / width * width;
    kb.loop(kb.i(0), kb.i(done), width, [&](V k) { copy(k, vector(width, kb.i8())); });
    for (width /= 2; width > 0; width /= 2)
      if (shape.k - done >= width) {
        copy(kb.i(done), width == 1 ? kb.i8() : vector(width, kb.i8()));
        done += width;
      }
  });
}

void IntegerTiles::finishRows(V column, V first, V end) {
  if (shape.n % tiling.nr == 0)
    return finishRows(column, first, end, false);
  kb.ifThen(
      column + tiling.nr <= shape.n, [&] { finishRows(column, first, end, false); },
      [&] { finishRows(column, first, end, true); });
}

void IntegerTiles::finishRows(V column, V first, V end, bool partial) {
  SmallVector<V> masks(tiling.vectors), biases;
  SmallVector<Values> columns;
  for (int64_t v = 0; v < tiling.vectors; ++v) {
    V position = column + v * lanes;
    if (partial)
      masks[v] = kb.firstLanes(shape.n - position);
    columns.push_back(loadColumns(position, masks[v]));
    if (shape.bias)
      biases.push_back(kb.loadMaybeMasked(kb.at(base(shape.bias, kb.f32()), position), masks[v]));
  }
  kb.loop(first, end, 1, [&](V r) {
    V row = loadRow(m0 + r);
    for (int64_t v = 0; v < tiling.vectors; ++v) {
      V place = (m0 + r) * shape.n + (column + v * lanes);
      V x = scaleSums(kb.at(sums(), r * tiling.nr + v * lanes), row, columns[v]);
      if (shape.bias)
        x = x + biases[v];
      x = emitActivation(kb, shape.activation, x);
      if (shape.residual)
        x = x + kb.loadMaybeMasked(kb.at(base(shape.residual, kb.f32()), place), masks[v]);
      kb.storeMaybeMasked(x, kb.at(base(shape.c, kb.f32()), place), masks[v]);
    }
  });
}

} // namespace llmopt::cpu
