// Dynamic quantization of rows. The quotient is that of a true division, not a product
// with the reciprocal: near ties these round differently, and the integers must be those
// that the definition gives.
#include "RowLoops.h"
#include "llmopt/CodeGen/CPU/Int8.h"

#include <algorithm>

using llvm::SmallVector;

namespace llmopt::cpu {

/// About 64 KB of rows, which may be as short as a group of 32.
static int64_t rowBlock(const QuantizeRowsSpec &spec) {
  return spec.rowBlock ? spec.rowBlock : std::clamp<int64_t>(16384 / spec.width, 1, 512);
}

SizeFormula quantizeRowsTiles(const QuantizeRowsSpec &spec) { return rowTiles(spec.rows, rowBlock(spec)); }

/// q = the low bytes of place(quotient(x)), where `place` limits a quotient and adds
/// 1.5 * 2^23 to it, which rounds it to an integer, half to even.
static void storeQuantized(KernelBuilder &kb, int64_t width, V x, V q, llvm::function_ref<V(V)> quotient,
                           llvm::function_ref<V(V)> place) {
  auto quantize = [&](V t) { return kb.convert(kb.bitcast(place(quotient(t)), kb.i32()), kb.i8()); };
  // A last element that is alone in its vector is stored as a scalar: LLVM 22
  // writes four bytes for a truncating store whose mask is known to have one lane.
  const int64_t alone = width % kb.lanes() == 1 ? 1 : 0, last = width - 1;
  forRow(kb, Size(width - alone), [&](V offset, V mask) {
    V t = kb.loadMaybeMasked(kb.at(x, offset), mask);
    kb.storeMaybeMasked(quantize(t), kb.at(q, offset, kb.i8()), mask);
  });
  if (alone)
    kb.store(quantize(kb.load(kb.at(x, last))), kb.at(q, last, kb.i8()));
}

/// A scalar, in every lane where `like` is a vector.
static V broadcast(V value, V like) {
  return mlir::isa<mlir::VectorType>(like.type()) ? value.kb->splat(value) : value;
}

/// x / y, given the correctly rounded 1 / y, where no intermediate result leaves the
/// normal range: the rounded quotient itself, whatever it is. One correction leaves less
/// than a unit of the last place, and with an exact remainder the second one rounds
/// correctly (Markstein, Computation of elementary functions on the IBM RISC System/6000
/// processor, 1990). A fifth of the time of a division of 512 bits.
static V divide(KernelBuilder &kb, V x, V y, V inverse) {
  V q = kb.roundedProduct(x, inverse);
  for (int correction = 0; correction < 2; ++correction)
    q = kb.fma(kb.fma(-q, y, x), inverse, q);
  return q;
}

constexpr double kRounding = 12582912.0;

/// Limits a quotient of rows and rounds it.
static V placeRow(KernelBuilder &kb, V t) {
  return kb.minimum(kb.maximum(t, kb.like(t, -127.0)), kb.like(t, 127.0)) + kRounding;
}

/// Of the largest magnitude of a row. The difference is NaN where the quotient alone would
/// be infinite.
static V scaleOf(KernelBuilder &kb, V largest) {
  return kb.select(largest == 0.0, kb.like(largest, 1.0), largest / 127.0 + (largest - largest));
}

/// Where quotients that round to something else than 0 have remainders that are exact.
static V isOrdinary(V scale) { return (scale > 0x1p-60) & (scale < 0x1p60); }

/// Magnitudes are compared as bits: NaN > infinity > numbers.
static V largerMagnitude(KernelBuilder &kb, V bits, V x) { return kb.maximum(bits, kb.bitcast(kb.abs(x), kb.i32())); }

static void divideRow(KernelBuilder &kb, int64_t width, V x, V q, V scale) {
  storeQuantized(kb, width, x, q, [&](V t) { return t / broadcast(scale, t); }, [&](V t) { return placeRow(kb, t); });
}

static void quantizeRow(KernelBuilder &kb, int64_t width, V x, V q, V scalePlace) {
  V none = kb.intConstant(kb.vecOf(kb.i32()), 0);
  V largest = maxPartials(kb, foldRow(kb, width, Values(rowPartialSums, none), [&](V partial, V offset, V mask) {
                            return largerMagnitude(kb, partial, kb.loadMaybeMasked(kb.at(x, offset), mask));
                          }));
  V scale = scaleOf(kb, kb.bitcast(largest, kb.f32()));
  kb.store(scale, scalePlace);
  if (!kb.target.hasFma)
    return divideRow(kb, width, x, q, scale);
  kb.ifThen(
      isOrdinary(scale),
      [&] {
        V inverse = 1.0 / scale;
        storeQuantized(
            kb, width, x, q, [&](V t) { return divide(kb, t, broadcast(scale, t), broadcast(inverse, t)); },
            [&](V t) { return placeRow(kb, t); });
      },
      [&] { divideRow(kb, width, x, q, scale); });
}

/// The largest element of each of the vectors (as many as a power of two), [vectors].
static V largestOfEach(KernelBuilder &kb, SmallVector<V> vectors) {
  int64_t width = mlir::cast<mlir::VectorType>(vectors[0].type()).getDimSize(0), rows = 1; // in a vector
  // The halves of what `count` rows of a and b have left, beside each other.
  auto halves = [&](V a, V b, int64_t count) {
    const int64_t each = width / rows;
    SmallVector<int64_t> low, high;
    for (int64_t r = 0; r < count; ++r)
      for (int64_t i = 0; i < each / 2; ++i) {
        low.push_back(r * each + i);
        high.push_back(r * each + each / 2 + i);
      }
    return kb.maximum(kb.shuffle(a, b, low), kb.shuffle(a, b, high));
  };
  for (; vectors.size() > 1; rows *= 2) {
    SmallVector<V> joined;
    for (size_t i = 0; i < vectors.size(); i += 2)
      joined.push_back(halves(vectors[i], vectors[i + 1], 2 * rows));
    vectors = joined;
  }
  for (; width > rows; width /= 2)
    vectors[0] = halves(vectors[0], vectors[0], rows);
  return vectors[0];
}

/// `count` short rows side by side: their scales are one vector.
static void quantizeShortRows(KernelBuilder &kb, int64_t width, V x, V q, V scales, int64_t count) {
  SmallVector<V> magnitudes(count, kb.intConstant(kb.vecOf(kb.i32()), 0));
  for (int64_t r = 0; r < count; ++r)
    for (int64_t i = 0; i < width; i += kb.lanes())
      magnitudes[r] = largerMagnitude(kb, magnitudes[r], kb.loadVec(kb.at(x, r * width + i)));
  V scale = scaleOf(kb, kb.bitcast(largestOfEach(kb, magnitudes), kb.f32()));
  kb.store(scale, scales);
  V zero = kb.intConstant(mlir::VectorType::get({count}, kb.i32()), 0);
  V odd = kb.reduceMax(kb.select(isOrdinary(scale), zero, kb.like(zero, 1)));
  kb.ifThen(
      odd == 0,
      [&] {
        V inverse = 1.0 / scale;
        for (int64_t r = 0; r < count; ++r) {
          V y = kb.splat(kb.extract(scale, r)), inverseOfY = kb.splat(kb.extract(inverse, r));
          for (int64_t i = 0; i < width; i += kb.lanes()) { // within limits without being limited
            V t = divide(kb, kb.loadVec(kb.at(x, r * width + i)), y, inverseOfY) + kRounding;
            kb.store(kb.convert(kb.bitcast(t, kb.i32()), kb.i8()), kb.at(q, r * width + i, kb.i8()));
          }
        }
      },
      [&] {
        kb.loop(kb.i(0), kb.i(count), 1, [&](V r) {
          divideRow(kb, width, kb.at(x, r * width), kb.at(q, r * width, kb.i8()), kb.load(kb.at(scales, r)));
        });
      });
}

void emitQuantizeRows(KernelBuilder &kb, int64_t width, V x, V q, V scales, V rows) {
  V done = kb.i(0);
  auto from = [&](V r) { return kb.at(x, r * width); };
  auto to = [&](V r) { return kb.at(q, r * width, kb.i8()); };
  if (kb.target.hasFma && width % kb.lanes() == 0 && width <= 256)
    for (int64_t count = std::min<int64_t>(8, kb.lanes()); count >= 4; count /= 2) {
      V end = rows - (rows - done) % count;
      kb.loop(done, end, count, [&](V r) { quantizeShortRows(kb, width, from(r), to(r), kb.at(scales, r), count); });
      done = end;
    }
  kb.loop(done, rows, 1, [&](V r) { quantizeRow(kb, width, from(r), to(r), kb.at(scales, r)); });
}

void emitQuantizeRows(KernelBuilder &kb, const QuantizeRowsSpec &spec) {
  kb.beginKernel(spec.name);
  V xBase = kb.at(kb.arg(spec.x.arg), kb.size(spec.x.offset));
  V qBase = kb.at(kb.arg(spec.q.arg), kb.size(spec.q.offset), kb.i8());
  V scaleBase = kb.at(kb.arg(spec.scale.arg), kb.size(spec.scale.offset));

  RowRange rows = tileRows(kb, spec.rows, rowBlock(spec));
  emitQuantizeRows(kb, spec.width, kb.at(xBase, rows.first * spec.width),
                   kb.at(qBase, rows.first * spec.width, kb.i8()), kb.at(scaleBase, rows.first), rows.end - rows.first);
  kb.finish();
}

SizeFormula quantizeTensorTiles(const QuantizeTensorSpec &spec) {
  return rowTiles(spec.rows, defaultRowBlock(spec.width));
}

TensorScale loadTensorScale(KernelBuilder &kb, const Operand &scale, const Operand &zeroPoint, bool narrow) {
  TensorScale s;
  s.scale = kb.load(kb.at(kb.arg(scale.arg), kb.size(scale.offset)));
  // The quotient is limited so that the sum with the zero point fits: limits are
  // integers, so rounding first or last makes no difference. NaN is not above any.
  s.lowest = kb.f(narrow ? -127 : -128);
  s.highest = kb.f(127);
  if (zeroPoint) {
    V at = kb.at(kb.arg(zeroPoint.arg), kb.size(zeroPoint.offset), kb.i8());
    s.zero = kb.toFloat(kb.convert(kb.load(at, kb.i8()), kb.i32()), kb.f32());
    s.lowest = s.lowest - s.zero;
    s.highest = s.highest - s.zero;
  }
  return s;
}

void emitQuantizeRow(KernelBuilder &kb, int64_t width, V x, V q, const TensorScale &s) {
  storeQuantized(
      kb, width, x, q, [&](V t) { return t / broadcast(s.scale, t); },
      [&](V t) {
        t = kb.minimum(kb.maximum(t, broadcast(s.lowest, t)), broadcast(s.highest, t)) + kRounding;
        return s.zero ? t + broadcast(s.zero, t) : t;
      });
}

void emitQuantizeTensor(KernelBuilder &kb, const QuantizeTensorSpec &spec) {
  kb.beginKernel(spec.name);
  V xBase = kb.at(kb.arg(spec.x.arg), kb.size(spec.x.offset));
  V qBase = kb.at(kb.arg(spec.q.arg), kb.size(spec.q.offset), kb.i8());
  TensorScale scale = loadTensorScale(kb, spec.scale, spec.zeroPoint, spec.narrow);
  RowRange rows = tileRows(kb, spec.rows, defaultRowBlock(spec.width));
  kb.loop(rows.first, rows.end, 1, [&](V r) {
    V x = kb.at(xBase, r * spec.width), q = kb.at(qBase, r * spec.width, kb.i8());
    emitQuantizeRow(kb, spec.width, x, q, scale);
  });
  kb.finish();
}

} // namespace llmopt::cpu
