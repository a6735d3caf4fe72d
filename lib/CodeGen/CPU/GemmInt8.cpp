// int8 matrix multiplication. A tile brings its rows of A into scratch memory
// once, in the form that the multiply instruction reads, then goes over column
// panels and inside of them row panels. K is not blocked: a panel of B is a
// quarter of the f32 one, and partial sums would have to go through memory.
#include "llmopt/CodeGen/CPU/Int8.h"

#include "llmopt/CodeGen/CPU/Gemm.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <algorithm>

using namespace mlir;

namespace llmopt::cpu {

Int8Layout gemmInt8Layout(const TargetInfo &target) {
  bool vnni = target.isa == Isa::Avx512 && target.features.find("avx512vnni") != std::string::npos;
  return vnni ? Int8Layout::Quads : Int8Layout::Pairs;
}

static constexpr int64_t nrVectors = 2;
int64_t gemmInt8NR(const TargetInfo &target) { return nrVectors * target.lanes; }

namespace {

int64_t roundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

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

/// Rows that only stream B: what they need of it is fetched ahead, in its order.
constexpr int64_t fewRows = 3;
/// Bytes from where B is read to where it is fetched.
constexpr int64_t prefetchDistance = 2048;

/// Tile shape and scratch memory, in bytes.
struct Blocking {
  Int8Layout layout;
  int64_t nr, mr, steps; // reduction steps: of 4 or 2 elements of K, 4 bytes of A
  int64_t stride;        // between rows of A
  int64_t mBlock, nBlock;
  int64_t sums, total;

  Blocking(const GemmInt8Spec &spec, const TargetInfo &t)
      : layout(gemmInt8Layout(t)), nr(gemmInt8NR(t)), mr(tileRowCount(t)) {
    int64_t group = layout == Int8Layout::Quads ? 4 : 2;
    steps = (spec.k + group - 1) / group;
    stride = roundUp(4 * steps, 64) + 64;
    if (stride % 4096 == 0)
      stride += 64; // rows of a tile must not compete for one cache set
    // The block of A shares the L2 cache with a panel of B.
    mBlock = spec.mBlock ? spec.mBlock : std::clamp<int64_t>((int64_t(256) << 10) / stride, mr, 128);
    if (!spec.m.isDim)
      mBlock = std::min(mBlock, std::max<int64_t>(1, spec.m.value));
    nBlock = roundUp(spec.nBlock ? spec.nBlock : 192, nr);
    int64_t blocks = (spec.n + nBlock - 1) / nBlock;
    nBlock = roundUp((spec.n + blocks - 1) / blocks, nr);
    sums = mBlock * stride;
    total = sums + mBlock * nr * 4;
  }
};

struct Emitter {
  KernelBuilder &kb;
  const GemmInt8Spec &spec;
  const Blocking b;
  const int64_t lanes;

  Emitter(KernelBuilder &kb, const GemmInt8Spec &spec) : kb(kb), spec(spec), b(spec, kb.target), lanes(kb.lanes()) {}

  Type vector(int64_t count, Type element) { return VectorType::get({count}, element); }
  V reshape(V value, Type type) {
    return kb.wrap(vector::BitCastOp::create(kb.builder, kb.loc, cast<VectorType>(type), value.value));
  }
  V base(const Operand &operand, Type element) { return kb.at(kb.arg(operand.arg), kb.size(operand.offset), element); }
  V bytes(V pointer, V offset) { return kb.at(pointer, offset, kb.i8()); }

  std::string rowsName(int64_t rows) {
    return "gemm_s8_k" + std::to_string(spec.k) + "_rows" + (rows ? std::to_string(rows) : "");
  }

  V intrinsic(const char *name, Type type, ArrayRef<V> operands) {
    SmallVector<Value> values;
    for (V operand : operands)
      values.push_back(operand.value);
    auto call = LLVM::CallIntrinsicOp::create(kb.builder, kb.loc, type, kb.builder.getStringAttr(name), values);
    return kb.wrap(call.getResult(0));
  }

  /// sum + the products of 4 bytes of A (in every lane) with those of B.
  V multiplyAdd(V sum, V a, V bVector) {
    if (b.layout == Int8Layout::Quads)
      return intrinsic("llvm.x86.avx512.vpdpbusd.512", sum.type(),
                       {sum, reshape(a, vector(4 * lanes, kb.i8())), bVector});
    Type i16 = kb.builder.getI16Type();
    a = reshape(a, vector(2 * lanes, i16));
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
    if (b.layout == Int8Layout::Quads)
      return kb.load(pointer, vector(4 * lanes, kb.i8()));
    return kb.convert(kb.load(pointer, vector(2 * lanes, kb.i8())), kb.builder.getI16Type());
  }

  /// (a, b, sums, next, nextStep): `rows` rows of A with one panel of B. Each step
  /// brings the line at `next` into the L2 cache and moves on by nextStep bytes; or,
  /// for a few rows, what will be read of this panel and those behind it.
  SmallVector<Type> rowsArguments() { return {kb.ptr(), kb.ptr(), kb.ptr(), kb.ptr(), kb.i64()}; }
  void emitRows(int64_t rows) {
    Values arguments = kb.beginFunction(rowsName(rows), rowsArguments());
    V a = arguments[0], panel = arguments[1], out = arguments[2], next0 = arguments[3], nextStep = arguments[4];
    const int64_t entry = b.nr * (b.layout == Int8Layout::Quads ? 4 : 2), perVector = entry / nrVectors;
    Type sumType = kb.vecOf(kb.i32());
    Values sums;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t v = 0; v < nrVectors; ++v)
        sums.push_back(b.layout == Int8Layout::Quads ? kb.load(kb.at(panel, v * lanes), sumType)
                                                     : kb.intConstant(sumType, 0));
    sums.push_back(b.layout == Int8Layout::Quads ? kb.at(panel, entry, kb.i8()) : panel);
    sums.push_back(next0);
    sums = kb.loop(kb.i(0), kb.i(b.steps), 1, sums, [&](V step, ArrayRef<V> carried) {
      Values next(carried.begin(), carried.end());
      V ahead = next.pop_back_val(), at = next.pop_back_val();
      if (rows > fewRows)
        kb.prefetch(ahead, /*locality=*/2);
      else
        for (int64_t line = 0; line < entry; line += 64)
          kb.prefetch(kb.at(at, prefetchDistance + line, kb.i8()));
      SmallVector<V> columns;
      for (int64_t v = 0; v < nrVectors; ++v)
        columns.push_back(loadB(kb.at(at, v * perVector, kb.i8())));
      V column = bytes(a, step * 4);
      for (int64_t r = 0; r < rows; ++r) {
        V factor = kb.splat(kb.load(kb.at(column, r * b.stride, kb.i8()), kb.i32()));
        for (int64_t v = 0; v < nrVectors; ++v)
          next[r * nrVectors + v] = multiplyAdd(next[r * nrVectors + v], factor, columns[v]);
      }
      next.push_back(kb.at(at, entry, kb.i8()));
      next.push_back(bytes(ahead, nextStep));
      return next;
    });
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t v = 0; v < nrVectors; ++v)
        kb.store(sums[r * nrVectors + v], kb.at(out, r * b.nr + v * lanes));
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

  /// Rows [m0, m0 + rows) of A into scratch: shifted bytes, or int16. What lies
  /// between K and the last step meets zeros of B.
  void loadA(V m0, V rows) {
    const bool quads = b.layout == Int8Layout::Quads;
    Type i16 = kb.builder.getI16Type();
    V source = base(spec.a, kb.i8());
    kb.loop(kb.i(0), rows, 1, [&](V r) {
      V from = bytes(source, (m0 + r) * spec.k), to = bytes(kb.scratch, r * b.stride);
      auto copy = [&](V k, Type type) {
        V q = kb.load(bytes(from, k), type);
        kb.store(quads ? q ^ kb.intConstant(type, -128) : kb.convert(q, i16), bytes(to, k * (quads ? 1 : 2)));
      };
      int64_t width = (quads ? 4 : 2) * lanes, done = spec.k / width * width;
      kb.loop(kb.i(0), kb.i(done), width, [&](V k) { copy(k, vector(width, kb.i8())); });
      for (width /= 2; width > 0; width /= 2)
        if (spec.k - done >= width) {
          copy(kb.i(done), width == 1 ? kb.i8() : vector(width, kb.i8()));
          done += width;
        }
    });
  }

  /// A vector of int32, of lanes of `mask` where there is one.
  V loadInts(V pointer, V mask) {
    Type type = kb.vecOf(kb.i32());
    return mask ? kb.loadMasked(pointer, mask, kb.intConstant(type, 0)) : kb.load(pointer, type);
  }

  void finishRows(V sums, V m0, V column, V first, V end, bool partial) {
    llvm::SmallVector<V> masks(nrVectors), scales, biases, corrections;
    V zero;
    if (spec.zeroPoint)
      zero = kb.splat(kb.convert(kb.load(base(spec.zeroPoint, kb.i8()), kb.i8()), kb.i32()));
    for (int64_t v = 0; v < nrVectors; ++v) {
      V position = column + v * lanes;
      if (partial)
        masks[v] = kb.firstLanes(spec.n - position);
      scales.push_back(kb.loadMaybeMasked(kb.at(base(spec.columnScale, kb.f32()), position), masks[v]));
      if (spec.zeroPoint)
        corrections.push_back(zero * loadInts(kb.at(base(spec.columnSums, kb.i32()), position, kb.i32()), masks[v]));
      if (spec.bias)
        biases.push_back(kb.loadMaybeMasked(kb.at(base(spec.bias, kb.f32()), position), masks[v]));
    }
    kb.loop(first, end, 1, [&](V r) {
      V rowScales = base(spec.rowScale, kb.f32());
      V rowScale = kb.splat(kb.load(spec.oneScale ? rowScales : kb.at(rowScales, m0 + r)));
      for (int64_t v = 0; v < nrVectors; ++v) {
        V place = (m0 + r) * spec.n + (column + v * lanes);
        V sum = kb.load(kb.at(sums, r * b.nr + v * lanes), kb.vecOf(kb.i32()));
        if (spec.zeroPoint)
          sum = sum - corrections[v];
        V x = kb.toFloat(sum, kb.f32()) * (rowScale * scales[v]);
        if (spec.bias)
          x = x + biases[v];
        x = emitActivation(kb, spec.activation, x);
        if (spec.residual)
          x = x + kb.loadMaybeMasked(kb.at(base(spec.residual, kb.f32()), place), masks[v]);
        kb.storeMaybeMasked(x, kb.at(base(spec.c, kb.f32()), place), masks[v]);
      }
    });
  }

  void emit() {
    V m = kb.size(spec.m), mTiles = kb.ceilDiv(m, b.mBlock);
    V mTile = kb.tile % mTiles, nTile = kb.tile / mTiles;
    V m0 = m * mTile / mTiles, rows = m * (mTile + 1) / mTiles - m0;
    V n0 = nTile * b.nBlock, n1 = kb.minimum(kb.i(spec.n), n0 + b.nBlock);
    loadA(m0, rows);
    const int64_t entries = b.layout == Int8Layout::Quads ? 4 * (1 + b.steps) : 2 * b.steps;
    V weights = base(spec.b, kb.i8()), sums = kb.at(kb.scratch, b.sums, kb.i8());
    V panels = kb.ceilDiv(rows, b.mr); // balanced, see emitRowPanels
    // The panel that follows is fetched by all row panels together. With one of them
    // the hardware does it: then one line that is there.
    const int64_t panelBytes = entries * b.nr;
    V shared = panels > 1;
    V nextStep = kb.select(shared, (kb.i(panelBytes / b.steps) + (panels - 1)) / panels, kb.i(0));
    kb.loop(n0, n1, b.nr, [&](V column) {
      V panel = bytes(weights, column * entries); // column is a multiple of NR
      kb.loop(kb.i(0), panels, 1, [&](V p) {
        V first = rows * p / panels, end = rows * (p + 1) / panels;
        V next = kb.select(shared, bytes(panel, p * nextStep * b.steps + panelBytes), panel);
        kb.call(rowsName(0),
                {bytes(kb.scratch, first * b.stride), panel, kb.at(sums, first * b.nr), next, nextStep, end - first});
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

SizeFormula gemmInt8Tiles(const GemmInt8Spec &spec, const TargetInfo &target) {
  Blocking blocking(spec, target);
  SizeFormula tiles;
  tiles.factors.push_back({Size(spec.n), blocking.nBlock});
  tiles.factors.push_back({spec.m, blocking.mBlock});
  return tiles;
}

SizeFormula gemmInt8Scratch(const GemmInt8Spec &spec, const TargetInfo &target) {
  SizeFormula bytes;
  bytes.scale = Blocking(spec, target).total;
  return bytes;
}

void emitGemmInt8(KernelBuilder &kb, const GemmInt8Spec &spec) {
  Emitter emitter(kb, spec);
  emitter.declareRows();
  kb.beginKernel(spec.name);
  emitter.emit();
  kb.finish();
}

} // namespace llmopt::cpu
