// The fp32 register-tile kernel. The loop over k carries all accumulators in
// registers and is not unrolled: unrolled bodies make LLVM hoist loads and
// spill.
#include "MicroKernel.h"

#include "RowKernels.h"

using namespace mlir;

namespace llmopt::cpu {
namespace {

constexpr const char *rowsName = "gemm_f32_rows";

// The last argument is the distance between prefetched addresses of two steps.
SmallVector<Type> argumentTypes(KernelBuilder &kb) {
  return {kb.ptr(),
          kb.ptr(),
          kb.i64(),
          kb.ptr(),
          kb.i64(),
          kb.i64(),
          kb.builder.getI1Type(),
          kb.ptr(),
          kb.i64()};
}

void emitMicroKernel(KernelBuilder &kb, int64_t rows, ArrayRef<V> v) {
  const int64_t vectors = kb.target.gemmNRVectors, lanes = kb.lanes();
  MicroArgs args{v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]};
  const V nextStep = v[8];

  SmallVector<V> rowOfC{args.c};
  for (int64_t r = 1; r < rows; ++r)
    rowOfC.push_back(kb.at(rowOfC.back(), args.ldc));

  SmallVector<Type> types(rows * vectors, kb.vec());
  Values acc = kb.ifThenElse(
      args.accumulate, types,
      [&] {
        Values loaded;
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t v = 0; v < vectors; ++v)
            loaded.push_back(kb.loadVec(kb.at(rowOfC[r], v * lanes)));
        return loaded;
      },
      [&] { return Values(rows * vectors, kb.splatConstant(0)); });

  constexpr int64_t line = 16; // f32 per cache line
  acc.push_back(args.b);
  acc.push_back(args.next);
  acc = kb.loop(kb.i(0), args.k, 1, acc, [&](V k, llvm::ArrayRef<V> carried) {
    Values sums(carried.begin(), carried.end());
    V next = sums.pop_back_val(), b = sums.pop_back_val();
    for (int64_t offset = 0; offset < vectors * lanes; offset += line)
      kb.prefetch(kb.at(next, offset), /*locality=*/2);
    SmallVector<V> column;
    for (int64_t v = 0; v < vectors; ++v)
      column.push_back(kb.loadVec(kb.at(b, v * lanes)));
    V a = kb.at(args.a, k);
    for (int64_t r = 0; r < rows; ++r) {
      V factor = kb.splat(kb.load(kb.at(a, r * rowStride(kb.target))));
      for (int64_t v = 0; v < vectors; ++v)
        sums[r * vectors + v] =
            kb.fma(factor, column[v], sums[r * vectors + v]);
    }
    sums.push_back(kb.at(b, args.ldb));
    sums.push_back(kb.at(next, nextStep));
    return sums;
  });

  for (int64_t r = 0; r < rows; ++r)
    for (int64_t v = 0; v < vectors; ++v)
      kb.store(acc[r * vectors + v], kb.at(rowOfC[r], v * lanes));
}

} // namespace

void declareMicroKernels(KernelBuilder &kb) {
  declareRowKernels(
      kb, rowsName, argumentTypes(kb), kb.target.gemmMR,
      [&](int64_t rows, ArrayRef<V> arguments) { emitMicroKernel(kb, rows, arguments); });
}

void emitRowPanels(KernelBuilder &kb, const MicroArgs &args, V rows,
                   llvm::function_ref<void(V, V)> done) {
  // A few rows only stream B, which the hardware prefetches well by itself.
  // Then, and without `next`, prefetches hit one line that is in the cache
  // anyway.
  V ahead = rows > 4;
  forRowPanels(kb, rows, kb.target.gemmMR, [&](V first, V end, V panel, V panels) {
    V nextStep = args.next ? kb.select(ahead, (panels + (kb.target.gemmNR() - 1)) / panels, kb.i(0)) : kb.i(0);
    MicroArgs local = args;
    local.a = kb.at(args.a, first * rowStride(kb.target));
    local.c = kb.at(args.c, first * args.ldc);
    V next = args.next
                 ? kb.select(ahead, kb.at(args.next, panel * nextStep * args.k),
                             args.b)
                 : args.b;
    kb.call(rowsName,
            {local.a, local.b, local.ldb, local.c, local.ldc, local.k,
             local.accumulate, next, nextStep, end - first});
    if (done)
      done(first, end);
  });
}

void emitCopyRows(KernelBuilder &kb, V dst, int64_t dstStride, V src,
                  V srcStride, V rows, V cols) {
  const int64_t lanes = kb.lanes();
  kb.loop(kb.i(0), rows, 1, [&](V r) {
    V from = kb.at(src, r * srcStride), to = kb.at(dst, r * dstStride);
    V quads = cols / (4 * lanes) * (4 * lanes);
    kb.loop(kb.i(0), quads, 4 * lanes, [&](V c) {
      SmallVector<V> values;
      kb.unrolled(4, [&](int64_t u) {
        values.push_back(kb.loadVec(kb.at(from, c + u * lanes)));
      });
      kb.unrolled(
          4, [&](int64_t u) { kb.store(values[u], kb.at(to, c + u * lanes)); });
    });
    V restFrom = kb.at(from, quads), restTo = kb.at(to, quads);
    kb.forVectors(cols - quads, [&](V c, V mask) {
      kb.storeMaybeMasked(kb.loadMaybeMasked(kb.at(restFrom, c), mask),
                          kb.at(restTo, c), mask);
    });
  });
}

namespace {

/// Transposes a lanes x lanes block held in registers: 4x4 inside each 128-bit
/// part first, then the parts among each other, one shuffle per vector and
/// stage.
SmallVector<V> transposeRegisters(KernelBuilder &kb, SmallVector<V> rows) {
  const int64_t lanes = kb.lanes();
  auto shuffleParts = [&](V a, V b, std::array<int64_t, 4> pattern) {
    // Per 128-bit part; 4..7 in the pattern are b's elements.
    SmallVector<int64_t> order;
    for (int64_t part = 0; part < lanes; part += 4)
      for (int64_t p : pattern)
        order.push_back(p < 4 ? part + p : lanes + part + p - 4);
    return kb.shuffle(a, b, order);
  };
  for (int64_t g = 0; g < lanes; g += 4) {
    V t0 = shuffleParts(rows[g], rows[g + 1], {0, 4, 1, 5});
    V t1 = shuffleParts(rows[g], rows[g + 1], {2, 6, 3, 7});
    V t2 = shuffleParts(rows[g + 2], rows[g + 3], {0, 4, 1, 5});
    V t3 = shuffleParts(rows[g + 2], rows[g + 3], {2, 6, 3, 7});
    rows[g] = shuffleParts(t0, t2, {0, 1, 4, 5});
    rows[g + 1] = shuffleParts(t0, t2, {2, 3, 6, 7});
    rows[g + 2] = shuffleParts(t1, t3, {0, 1, 4, 5});
    rows[g + 3] = shuffleParts(t1, t3, {2, 3, 6, 7});
  }
  // Row 4g+q now holds, in part c, column 4c+q of rows 4g .. 4g+3.
  for (int64_t s = 4; s < lanes; s *= 2) {
    for (int64_t r = 0; r < lanes; ++r) {
      if (r & s)
        continue;
      V low = rows[r], high = rows[r + s];
      SmallVector<int64_t> first, second;
      for (int64_t l = 0; l < lanes; ++l) {
        first.push_back(l & s ? lanes + (l ^ s) : l);
        second.push_back(l & s ? lanes + l : l ^ s);
      }
      rows[r] = kb.shuffle(low, high, first);
      rows[r + s] = kb.shuffle(low, high, second);
    }
  }
  return rows;
}

} // namespace

void emitTranspose(KernelBuilder &kb, V dst, int64_t dstStride, V src,
                   V srcStride, V rows, V cols) {
  const int64_t lanes = kb.lanes();
  auto block = [&](V r, V c, bool full) {
    SmallVector<V> values;
    V from = kb.at(src, r * srcStride + c), to = kb.at(dst, c * dstStride + r);
    V rowMask, colMask;
    if (!full) {
      rowMask = kb.firstLanes(rows - r);
      colMask = kb.firstLanes(cols - c);
    }
    for (int64_t i = 0; i < lanes; ++i) {
      V row = kb.at(from, srcStride * i);
      values.push_back(
          full ? kb.loadVec(row)
               : kb.loadMasked(row, colMask & kb.splat(r + i < rows)));
    }
    values = transposeRegisters(kb, values);
    for (int64_t i = 0; i < lanes; ++i) {
      V row = kb.at(to, i * dstStride);
      if (full)
        kb.store(values[i], row);
      else
        kb.storeMasked(values[i], row, rowMask & kb.splat(c + i < cols));
    }
  };
  kb.loop(kb.i(0), rows, lanes, [&](V r) {
    kb.loop(kb.i(0), cols, lanes, [&](V c) {
      kb.ifThen((r + lanes <= rows) & (c + lanes <= cols),
                [&] { block(r, c, true); }, [&] { block(r, c, false); });
    });
  });
}

} // namespace llmopt::cpu
