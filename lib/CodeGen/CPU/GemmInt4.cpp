// int4 matrix multiplication. A is read in place: its bytes are what the multiply
// instructions take. A tile first sums the rows of A over each group, for what is
// subtracted from the nibbles, then goes over column panels and inside of them row
// panels. Few rows only stream B, one panel after the other.
#include "llmopt/CodeGen/CPU/Int4.h"

#include "llmopt/CodeGen/CPU/Gemm.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <algorithm>

using namespace mlir;

namespace llmopt::cpu {
namespace {

int64_t roundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// How bytes are multiplied.
enum class Multiply { Dpbusd, Maddubs, Widened };

Multiply multiplyOf(const TargetInfo &t) {
  if (t.isa == Isa::Avx512 && t.features.find("avx512vnni") != std::string::npos)
    return Multiply::Dpbusd;
  return t.isa == Isa::Avx512 || t.isa == Isa::Avx2 ? Multiply::Maddubs : Multiply::Widened;
}

/// Rows of the register tile: one accumulator per row and vector (two where products
/// are widened), the two halves of each vector of B, one vector of A and a product.
int64_t tileRowCount(const TargetInfo &t) {
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

/// Rows that only stream B: what they need of it is fetched ahead, in its order.
constexpr int64_t fewRows = 3;
/// Bytes from where B is read to where it is fetched.
constexpr int64_t prefetchDistance = 2048;
/// Products of K that are summed in int16.
constexpr int64_t chunk = 32;

/// Tile shape and scratch memory, in bytes.
struct Blocking {
  int64_t nr, vectors, mr;
  int64_t groups, header, block; // of B: blocks per panel, bytes before nibbles, bytes
  int64_t mBlock, nBlock;
  int64_t sums, total;

  Blocking(const GemmInt4Spec &spec, const TargetInfo &t)
      : nr(t.gemmNR()), vectors(t.gemmNRVectors), mr(tileRowCount(t)), groups(spec.k / spec.group),
        header(nr * (spec.zeroPoints ? 8 : 4)), block(int4BlockBytes(nr, spec.group, spec.zeroPoints)) {
    // The block of A shares the L2 cache with a panel of B.
    mBlock = spec.mBlock ? spec.mBlock : std::clamp<int64_t>((int64_t(256) << 10) / spec.k, mr, 128);
    if (!spec.m.isDim)
      mBlock = std::min(mBlock, std::max<int64_t>(1, spec.m.value));
    nBlock = roundUp(spec.nBlock ? spec.nBlock : 192, nr);
    int64_t blocks = (spec.n + nBlock - 1) / nBlock;
    nBlock = roundUp((spec.n + blocks - 1) / blocks, nr);
    sums = roundUp(mBlock * groups * 4, 64);
    total = sums + mBlock * nr * 4;
  }
};

struct Emitter {
  KernelBuilder &kb;
  const GemmInt4Spec &spec;
  const Blocking b;
  const int64_t lanes;
  const Multiply multiply;

  Emitter(KernelBuilder &kb, const GemmInt4Spec &spec)
      : kb(kb), spec(spec), b(spec, kb.target), lanes(kb.lanes()), multiply(multiplyOf(kb.target)) {}

  Type i16() { return kb.builder.getI16Type(); }
  Type vector(int64_t count, Type element) { return VectorType::get({count}, element); }
  Type byteVector() { return vector(4 * lanes, kb.i8()); }
  V reshape(V value, Type type) {
    return kb.wrap(vector::BitCastOp::create(kb.builder, kb.loc, cast<VectorType>(type), value.value));
  }
  V base(const Operand &operand, Type element) { return kb.at(kb.arg(operand.arg), kb.size(operand.offset), element); }
  V bytes(V pointer, V offset) { return kb.at(pointer, offset, kb.i8()); }
  V bytes(V pointer, int64_t offset) { return kb.at(pointer, offset, kb.i8()); }

  V intrinsic(const char *name, Type type, ArrayRef<V> operands) {
    SmallVector<Value> values;
    for (V operand : operands)
      values.push_back(operand.value);
    auto call = LLVM::CallIntrinsicOp::create(kb.builder, kb.loc, type, kb.builder.getStringAttr(name), values);
    return kb.wrap(call.getResult(0));
  }

  bool subtracts() const { return spec.zeroPoints || spec.offset != 0; }

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
      return intrinsic("llvm.x86.avx512.vpdpbusd.512", partial.type(), {partial, nibbles, a});
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

  std::string rowsName(int64_t rows) {
    return "gemm_w4a8_k" + std::to_string(spec.k) + "_g" + std::to_string(spec.group) +
           (spec.zeroPoints ? "_zero"
            : spec.offset   ? "_signed"
                            : "_unsigned") +
           (spec.scalePerGroup ? "" : "_token") + "_rows" + (rows ? std::to_string(rows) : "");
  }
  /// (a, row scales, corrections, panel, sums, next, nextStep)
  SmallVector<Type> rowsArguments() {
    SmallVector<Type> types(6, kb.ptr());
    types.push_back(kb.i64());
    return types;
  }

  /// Carries `partials`, where B and A are read, and where B is fetched, over
  /// `products` elements of K.
  Values emitProducts(int64_t rows, int64_t products, Values carried, V nextStep) {
    const int64_t entry = b.nr * 4, perVector = lanes * 4;
    const bool ahead = rows <= fewRows;
    return kb.loop(kb.i(0), kb.i(products / 8), 1, carried, [&](V, ArrayRef<V> values) {
      Values next(values.begin(), values.end());
      V fetch = next.pop_back_val(), a = next.pop_back_val(), at = next.pop_back_val();
      for (int64_t line = 0; line < entry; line += 64)
        kb.prefetch(ahead ? bytes(at, prefetchDistance + line) : bytes(fetch, line), ahead ? 3 : 2);
      for (int64_t half = 0; half < 2; ++half) {
        SmallVector<V> columns;
        for (int64_t v = 0; v < b.vectors; ++v) {
          V raw = kb.load(bytes(at, v * perVector), kb.vecOf(kb.i32()));
          if (half)
            raw = shiftRight(raw, 4);
          columns.push_back(reshape(raw, byteVector()) & kb.intConstant(byteVector(), 15));
        }
        for (int64_t r = 0; r < rows; ++r) {
          V factor = kb.splat(kb.load(bytes(a, r * spec.k + 4 * half), kb.i32()));
          for (int64_t v = 0; v < b.vectors; ++v)
            next[r * b.vectors + v] = multiplyAdd(next[r * b.vectors + v], columns[v], factor);
        }
      }
      next.push_back(bytes(at, entry));
      next.push_back(bytes(a, 8));
      next.push_back(ahead ? fetch : bytes(fetch, nextStep));
      return next;
    });
  }

  V shiftRight(V value, int64_t bits) {
    return kb.wrap(arith::ShRUIOp::create(kb.builder, kb.loc, value.value, kb.intConstant(value.type(), bits).value));
  }

  /// The integer sums of one group, [row][vector]; moves `places` (B, A, fetched B) on.
  Values emitGroup(int64_t rows, V corrections, V g, Values &places, V nextStep) {
    const int64_t count = rows * b.vectors;
    auto start = [&](int64_t r) {
      if (!spec.offset || spec.zeroPoints)
        return kb.intConstant(kb.vecOf(kb.i32()), 0);
      return kb.splat(kb.load(kb.at(corrections, g + r * b.groups, kb.i32()), kb.i32()));
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
    Values sums;
    for (int64_t i = 0; i < count; ++i)
      sums.push_back(start(i / b.vectors));
    if (multiply == Multiply::Dpbusd)
      return split(emitProducts(rows, spec.group, join(sums), nextStep));
    auto addChunk = [&](Values total) {
      Values partials =
          split(emitProducts(rows, chunk, join(Values(count, kb.intConstant(partialType(), 0))), nextStep));
      for (int64_t i = 0; i < count; ++i)
        total[i] = total[i] + widen(partials[i]);
      return total;
    };
    if (spec.group == chunk)
      return addChunk(sums);
    return split(kb.loop(kb.i(0), kb.i(spec.group / chunk), 1, join(sums), [&](V, ArrayRef<V> carried) {
      places.assign(carried.end() - 3, carried.end());
      return join(addChunk(Values(carried.begin(), carried.begin() + count)));
    }));
  }

  /// `rows` rows of A with one panel of B.
  void emitRows(int64_t rows) {
    Values arguments = kb.beginFunction(rowsName(rows), rowsArguments());
    V a = arguments[0], rowScales = arguments[1], corrections = arguments[2], panel = arguments[3], out = arguments[4],
      next = arguments[5], nextStep = arguments[6];
    const int64_t count = rows * b.vectors;
    Values carried(count, kb.splatConstant(0)); // spilled around the innermost loop, if at all
    carried.append({panel, a, next});
    carried = kb.loop(kb.i(0), kb.i(b.groups), 1, carried, [&](V g, ArrayRef<V> values) {
      Values floats(values.begin(), values.end() - 3), places(values.end() - 3, values.end());
      V head = places[0];
      if (rows <= fewRows)
        for (int64_t line = 0; line < b.header; line += 64)
          kb.prefetch(bytes(head, prefetchDistance + line));
      places[0] = bytes(head, b.header);
      Values sums = emitGroup(rows, corrections, g, places, nextStep);
      for (int64_t r = 0; r < rows; ++r) {
        V rowScale, rowSum;
        if (spec.scalePerGroup)
          rowScale = kb.splat(kb.load(kb.at(rowScales, g + r * b.groups)));
        if (spec.zeroPoints)
          rowSum = kb.splat(kb.load(kb.at(corrections, g + r * b.groups)));
        for (int64_t v = 0; v < b.vectors; ++v) {
          int64_t i = r * b.vectors + v;
          V x = kb.toFloat(sums[i], kb.f32()), scale = kb.loadVec(kb.at(head, v * lanes));
          if (spec.zeroPoints) // integers below 2^24 (G <= 4096): exact
            x = kb.fma(rowSum, kb.loadVec(kb.at(head, b.nr + v * lanes)), x);
          if (rowScale)
            scale = scale * rowScale;
          floats[i] = kb.fma(x, scale, floats[i]);
        }
      }
      floats.append(places.begin(), places.end());
      return floats;
    });
    for (int64_t i = 0; i < count; ++i)
      kb.store(carried[i], kb.at(out, i / b.vectors * b.nr + i % b.vectors * lanes));
    kb.finish();
  }

  /// The kernels for 1 .. MR rows, and a jump to the one for a given count.
  void declareRows() {
    if (kb.hasFunction(rowsName(0)))
      return;
    for (int64_t rows = 1; rows <= b.mr; ++rows)
      emitRows(rows);
    SmallVector<Type> types = rowsArguments();
    types.push_back(kb.i64());
    Values arguments = kb.beginFunction(rowsName(0), types);
    Value rows =
        arith::IndexCastOp::create(kb.builder, kb.loc, kb.builder.getIndexType(), arguments.pop_back_val().value);
    SmallVector<int64_t> cases = llvm::to_vector(llvm::seq<int64_t>(1, b.mr));
    auto choice = scf::IndexSwitchOp::create(kb.builder, kb.loc, TypeRange{}, rows, cases, cases.size());
    auto fill = [&](Region &region, int64_t r) {
      OpBuilder::InsertionGuard guard(kb.builder);
      kb.builder.createBlock(&region);
      kb.call(rowsName(r), arguments);
      scf::YieldOp::create(kb.builder, kb.loc);
    };
    for (auto [region, r] : llvm::zip(choice.getCaseRegions(), cases))
      fill(region, r);
    fill(choice.getDefaultRegion(), b.mr);
    kb.finish();
  }

  /// For every row and group -offset times the sum of A as int32, or, with zero
  /// points, minus the sum as f32.
  void sumRows(V m0, V rows) {
    if (!subtracts())
      return;
    V source = base(spec.a, kb.i8());
    kb.loop(kb.i(0), rows, 1, [&](V r) {
      kb.loop(kb.i(0), kb.i(b.groups), 1, [&](V g) {
        V from = bytes(source, (m0 + r) * spec.k + g * spec.group);
        Values total{kb.intConstant(vector(8, kb.i32()), 0)};
        total = kb.loop(kb.i(0), kb.i(spec.group), chunk, total, [&](V k, ArrayRef<V> carried) {
          V x = kb.convert(kb.load(bytes(from, k), vector(chunk, kb.i8())), i16());
          for (int64_t width = chunk / 2; width >= 8; width /= 2)
            x = kb.shuffle(x, x, llvm::to_vector(llvm::seq<int64_t>(0, width))) +
                kb.shuffle(x, x, llvm::to_vector(llvm::seq<int64_t>(width, 2 * width)));
          return Values{carried[0] + kb.convert(x, kb.i32())};
        });
        V sum = kb.reduceAdd(total[0]), to = kb.at(kb.scratch, r * b.groups + g, kb.i32());
        kb.store(spec.zeroPoints ? kb.toFloat(0 - sum, kb.f32()) : sum * -spec.offset, to);
      });
    });
  }

  void finishRows(V sums, V m0, V column, V first, V end, bool partial) {
    SmallVector<V> masks(b.vectors), biases;
    for (int64_t v = 0; v < b.vectors; ++v) {
      V position = column + v * lanes;
      if (partial)
        masks[v] = kb.firstLanes(spec.n - position);
      if (spec.bias)
        biases.push_back(kb.loadMaybeMasked(kb.at(base(spec.bias, kb.f32()), position), masks[v]));
    }
    kb.loop(first, end, 1, [&](V r) {
      V rowScale;
      if (!spec.scalePerGroup)
        rowScale = kb.splat(kb.load(kb.at(base(spec.rowScale, kb.f32()), m0 + r)));
      for (int64_t v = 0; v < b.vectors; ++v) {
        V to = (m0 + r) * spec.n + (column + v * lanes);
        V x = kb.loadVec(kb.at(sums, r * b.nr + v * lanes));
        if (rowScale)
          x = x * rowScale;
        if (spec.bias)
          x = x + biases[v];
        x = emitActivation(kb, spec.activation, x);
        if (spec.residual)
          x = x + kb.loadMaybeMasked(kb.at(base(spec.residual, kb.f32()), to), masks[v]);
        kb.storeMaybeMasked(x, kb.at(base(spec.c, kb.f32()), to), masks[v]);
      }
    });
  }

  void emit() {
    V m = kb.size(spec.m), mTiles = kb.ceilDiv(m, b.mBlock);
    V mTile = kb.tile % mTiles, nTile = kb.tile / mTiles;
    V m0 = m * mTile / mTiles, rows = m * (mTile + 1) / mTiles - m0;
    V n0 = nTile * b.nBlock, n1 = kb.minimum(kb.i(spec.n), n0 + b.nBlock);
    sumRows(m0, rows);
    const int64_t panelBytes = b.groups * b.block, steps = spec.k / 8, perRow = spec.scalePerGroup ? b.groups : 1;
    V a = bytes(base(spec.a, kb.i8()), m0 * spec.k), weights = base(spec.b, kb.i8());
    V rowScales = kb.at(base(spec.rowScale, kb.f32()), m0 * perRow), sums = bytes(kb.scratch, b.sums);
    V panels = kb.ceilDiv(rows, b.mr); // balanced, see emitRowPanels
    // The panel that follows is fetched by all row panels together.
    V nextStep = (kb.i((panelBytes + steps - 1) / steps) + (panels - 1)) / panels;
    kb.loop(n0, n1, b.nr, [&](V column) {
      V panel = bytes(weights, column / b.nr * panelBytes);
      kb.loop(kb.i(0), panels, 1, [&](V p) {
        V first = rows * p / panels, end = rows * (p + 1) / panels;
        V next = bytes(panel, p * nextStep * steps + panelBytes);
        kb.call(rowsName(0),
                {bytes(a, first * spec.k), kb.at(rowScales, first * perRow), kb.at(kb.scratch, first * b.groups), panel,
                 kb.at(sums, first * b.nr), next, nextStep, end - first});
        if (spec.n % b.nr == 0)
          return finishRows(sums, m0, column, first, end, false);
        kb.ifThen(
            column + b.nr <= spec.n, [&] { finishRows(sums, m0, column, first, end, false); },
            [&] { finishRows(sums, m0, column, first, end, true); });
      });
    });
  }
};

} // namespace

SizeFormula gemmInt4Tiles(const GemmInt4Spec &spec, const TargetInfo &target) {
  Blocking blocking(spec, target);
  SizeFormula tiles;
  tiles.factors.push_back({Size(spec.n), blocking.nBlock});
  tiles.factors.push_back({spec.m, blocking.mBlock});
  return tiles;
}

SizeFormula gemmInt4Scratch(const GemmInt4Spec &spec, const TargetInfo &target) {
  SizeFormula bytes;
  bytes.scale = Blocking(spec, target).total;
  return bytes;
}

void emitGemmInt4(KernelBuilder &kb, const GemmInt4Spec &spec) {
  Emitter emitter(kb, spec);
  emitter.declareRows();
  kb.beginKernel(spec.name);
  emitter.emit();
  kb.finish();
}

} // namespace llmopt::cpu
