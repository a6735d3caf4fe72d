// f32 products with an integer B. Few rows are bound by how fast B can be read and
// made float: an int4 is masked out of its dword where it is and converted there, and
// the activation it meets has been multiplied by 2^-position, which is exact; one
// `and` and one conversion per vector of weights. What is subtracted from the nibbles
// is multiplied by the sum of the group's activations.
#include "QuantizedB.h"

#include "llmopt/CodeGen/CPU/Int4.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

#include <cmath>

using namespace mlir;

namespace llmopt::cpu {
namespace {

constexpr int64_t prefetchDistance = 2048; // bytes

struct Form {
  int64_t n, k, group, groups, nr, vectors, lanes;
  int64_t block, header, panelBytes;
  bool int4;

  Form(const GemmSpec &spec, const TargetInfo &t)
      : n(spec.n.value), k(spec.k.value), group(spec.quantizedB->group), groups(group ? k / group : 0), nr(t.gemmNR()),
        vectors(t.gemmNRVectors), lanes(t.lanes), int4(group != 0) {
    bool zero = spec.quantizedB->zeroPoints;
    block = int4BlockBytes(nr, group, zero);
    header = nr * (zero ? 8 : 4);
    panelBytes = int4 ? groups * block : k * nr;
  }
  /// Scratch memory, in elements: sums, then per row the activations and, for int4,
  /// what each group adds.
  int64_t sums() const { return 0; }
  int64_t rowStride() const { return k + groups; }
  int64_t row(int64_t r) const { return quantizedGemvRows * nr + r * rowStride(); }
  int64_t corrections() const { return k; }
};

/// The step of K in dword position `field` of 8: see kernel.pack_groups.
int64_t stepOf(int64_t field) { return field / 2 + (field % 2 ? 4 : 0); }

struct Emitter {
  KernelBuilder &kb;
  const GemmSpec &spec;
  const QuantizedB &b;
  const Form form;

  Emitter(KernelBuilder &kb, const GemmSpec &spec) : kb(kb), spec(spec), b(*spec.quantizedB), form(spec, kb.target) {}

  V bytes(V pointer, V offset) { return kb.at(pointer, offset, kb.i8()); }
  V bytes(V pointer, int64_t offset) { return kb.at(pointer, offset, kb.i8()); }
  V weights() { return kb.at(kb.arg(spec.b.arg), kb.size(spec.b.offset), kb.i8()); }
  V panelAt(V column) { return bytes(weights(), column / form.nr * form.panelBytes); }
  V int32s(int64_t value) { return kb.intConstant(kb.vecOf(kb.i32()), value); }
  V shiftRight(V value, int64_t bits) {
    if (!bits)
      return value;
    return kb.wrap(arith::ShRUIOp::create(kb.builder, kb.loc, value.value, kb.intConstant(value.type(), bits).value));
  }
  V loadBytes(V pointer) { return kb.toFloat(kb.convert(kb.load(pointer, kb.vecOf(kb.i8())), kb.i32()), kb.f32()); }

  void dequantizeInt8(V column, V k0, V steps, V panel) {
    SmallVector<V> scales;
    V scaleBase = kb.at(kb.at(kb.arg(b.columnScale.arg), kb.size(b.columnScale.offset)), column);
    for (int64_t v = 0; v < form.vectors; ++v)
      scales.push_back(
          kb.loadMasked(kb.at(scaleBase, v * form.lanes), kb.firstLanes(kb.i(form.n) - column - v * form.lanes)));
    V from = bytes(panelAt(column), k0 * form.nr);
    kb.loop(kb.i(0), steps, 1, [&](V k) {
      for (int64_t v = 0; v < form.vectors; ++v)
        kb.store(loadBytes(bytes(from, k * form.nr + v * form.lanes)) * scales[v],
                 kb.at(panel, k * form.nr + v * form.lanes));
    });
  }

  void dequantizeInt4(V column, V k0, V steps, V panel) {
    V from = panelAt(column);
    kb.loop(kb.i(0), steps, 8, [&](V step) { // K is a multiple of 32, blocks of 8
      V k = k0 + step, g = k / form.group, head = bytes(from, g * form.block);
      V nibbles = bytes(head, (k - g * form.group) / 8 * (4 * form.nr) + form.header);
      kb.loop(kb.i(0), kb.i(form.nr), form.lanes, [&](V first) { // a loop: else both vectors spill
        V scale = kb.loadVec(kb.at(head, first)), zero;
        if (b.zeroPoints)
          zero = kb.loadVec(kb.at(head, first + form.nr));
        V raw = kb.load(kb.at(nibbles, first), kb.vecOf(kb.i32()));
        for (int64_t field = 0; field < 8; ++field) {
          V q = shiftRight(raw, 4 * field);
          if (field < 7)
            q = q & int32s(15);
          V x;
          if (zero)
            x = kb.toFloat(q, kb.f32()) - zero;
          else
            x = kb.toFloat(b.offset ? q - int32s(b.offset) : q, kb.f32());
          kb.store(x * scale, kb.at(panel, (step + stepOf(field)) * form.nr + first));
        }
      });
    });
  }

  std::string gemvName(int64_t rows) {
    std::string name = "gemv_w" + std::string(form.int4 ? "4" : "8") + "_k" + std::to_string(form.k);
    if (form.int4)
      name += "_g" + std::to_string(form.group) + (b.zeroPoints ? "_zero" : b.offset ? "_signed" : "_unsigned");
    return name + "_rows" + std::to_string(rows);
  }

  /// Chains of sums per output, which hide the latency of one: what registers hold.
  int64_t chainsOf(int64_t rows) {
    bool sixteen = kb.target.isa == Isa::Avx2 || kb.target.isa == Isa::Baseline;
    if (rows == 1)
      return kb.target.isa == Isa::Avx2 ? 3 : sixteen ? 2 : 4;
    return rows == 2 && kb.target.isa != Isa::Baseline ? 2 : 1;
  }

  void prefetch(V at, int64_t size) {
    for (int64_t line = 0; line < size; line += 64)
      kb.prefetch(bytes(at, prefetchDistance + line));
  }

  static V sumOf(ArrayRef<V> parts) {
    V sum = parts[0];
    for (V part : parts.drop_front())
      sum = sum + part;
    return sum;
  }

  /// (rows of A as emitQuantizedGemvInput leaves them, panel, sums)
  void emitGemv(int64_t rows) {
    if (kb.hasFunction(gemvName(rows)))
      return;
    Values arguments = kb.beginFunction(gemvName(rows), {kb.ptr(), kb.ptr(), kb.ptr(), kb.i64()});
    V a = arguments[0], panel = arguments[1], out = arguments[2], rowStride = arguments[3];
    SmallVector<V> rowOfA{a};
    for (int64_t r = 1; r < rows; ++r)
      rowOfA.push_back(kb.at(rowOfA.back(), rowStride));
    const int64_t count = rows * form.vectors;
    Values sums = form.int4 ? gemvInt4(rows, rowOfA, panel) : gemvInt8(rows, rowOfA, panel);
    for (int64_t i = 0; i < count; ++i)
      kb.store(sums[i], kb.at(out, i / form.vectors * form.nr + i % form.vectors * form.lanes));
    kb.finish();
  }

  Values gemvInt8(int64_t rows, ArrayRef<V> a, V panel) {
    const int64_t each = chainsOf(rows), count = rows * form.vectors, full = form.k / 4 * 4;
    auto step = [&](Values sums, V k, V at, int64_t chain) {
      SmallVector<V> columns;
      for (int64_t v = 0; v < form.vectors; ++v)
        columns.push_back(loadBytes(bytes(at, v * form.lanes)));
      for (int64_t i = 0; i < count; ++i) {
        V &sum = sums[i * each + chain];
        sum = kb.fma(kb.splat(kb.load(kb.at(a[i / form.vectors], k))), columns[i % form.vectors], sum);
      }
      return sums;
    };
    Values carried(count * each, kb.splatConstant(0));
    carried.push_back(panel);
    carried = kb.loop(kb.i(0), kb.i(full), 4, carried, [&](V k, ArrayRef<V> values) {
      Values next(values.begin(), values.end() - 1);
      V at = values.back();
      prefetch(at, 4 * form.nr);
      for (int64_t j = 0; j < 4; ++j)
        next = step(next, k + j, bytes(at, j * form.nr), j % each);
      next.push_back(bytes(at, 4 * form.nr));
      return next;
    });
    V at = carried.pop_back_val();
    for (int64_t k = full; k < form.k; ++k)
      carried = step(carried, kb.i(k), bytes(at, (k - full) * form.nr), (k - full) % each);
    Values sums;
    for (int64_t i = 0; i < count; ++i)
      sums.push_back(sumOf(ArrayRef(carried).slice(i * each, each)));
    return sums;
  }

  Values gemvInt4(int64_t rows, ArrayRef<V> a, V panel) {
    const int64_t each = chainsOf(rows), count = rows * form.vectors, entry = 4 * form.nr;
    Values carried(count, kb.splatConstant(0));
    carried.push_back(panel);
    carried = kb.loop(kb.i(0), kb.i(form.groups), 1, carried, [&](V g, ArrayRef<V> values) {
      Values total(values.begin(), values.end() - 1);
      V head = values.back();
      prefetch(head, form.header);
      Values inner(count * each, kb.splatConstant(0));
      inner.push_back(bytes(head, form.header));
      inner = kb.loop(kb.i(0), kb.i(form.group), 8, inner, [&](V k, ArrayRef<V> now) {
        Values next(now.begin(), now.end() - 1);
        V at = now.back();
        prefetch(at, entry);
        SmallVector<V> raw;
        for (int64_t v = 0; v < form.vectors; ++v)
          raw.push_back(kb.load(bytes(at, v * form.lanes * 4), kb.vecOf(kb.i32())));
        V first = g * form.group + k;
        for (int64_t field = 0; field < 8; ++field) {
          SmallVector<V> columns;
          for (int64_t v = 0; v < form.vectors; ++v)
            columns.push_back(
                kb.toFloat(field < 7 ? raw[v] & int32s(int64_t(15) << 4 * field) : shiftRight(raw[v], 28), kb.f32()));
          for (int64_t i = 0; i < count; ++i) {
            V &sum = next[i * each + field % each];
            sum = kb.fma(kb.splat(kb.load(kb.at(kb.at(a[i / form.vectors], first), field))), columns[i % form.vectors],
                         sum);
          }
        }
        next.push_back(bytes(at, entry));
        return next;
      });
      V end = inner.pop_back_val();
      for (int64_t i = 0; i < count; ++i) {
        int64_t v = i % form.vectors;
        V sum = sumOf(ArrayRef(inner).slice(i * each, each));
        if (b.zeroPoints || b.offset) {
          V correction = kb.splat(kb.load(kb.at(kb.at(a[i / form.vectors], g), form.corrections())));
          sum = b.zeroPoints ? kb.fma(correction, kb.loadVec(kb.at(head, form.nr + v * form.lanes)), sum)
                             : sum + correction;
        }
        total[i] = kb.fma(sum, kb.loadVec(kb.at(head, v * form.lanes)), total[i]);
      }
      total.push_back(end);
      return total;
    });
    carried.pop_back();
    return carried;
  }

  /// Of every group -offset times the sum of x (minus the sum, with zero points), and
  /// x in the order of the fields, times 2^-position.
  V inputInt4(V a, V rows) {
    Values bits{kb.i(0)};
    bits = kb.loop(kb.i(0), rows, 1, bits, [&](V r, ArrayRef<V> carried) {
      V from = kb.at(a, r * kb.size(spec.lda)), to = kb.at(kb.scratch, r * form.rowStride() + form.row(0));
      return kb.loop(kb.i(0), kb.i(form.groups), 1, carried, [&](V g, ArrayRef<V> outer) {
        Type eight = VectorType::get({8}, kb.f32()), eightInts = VectorType::get({8}, kb.i32());
        Values state{kb.constant(eight, 0), kb.intConstant(eightInts, 0)};
        state = kb.loop(kb.i(0), kb.i(form.group), 8, state, [&](V k, ArrayRef<V> now) {
          V place = g * form.group + k, x = kb.load(kb.at(from, place), eight);
          SmallVector<int64_t> order;
          SmallVector<float> factors;
          for (int64_t field = 0; field < 8; ++field) {
            order.push_back(stepOf(field));
            factors.push_back(field < 7 ? std::ldexp(1.0f, -4 * static_cast<int>(field)) : 1.0f);
          }
          V powers = kb.wrap(arith::ConstantOp::create(
              kb.builder, kb.loc, DenseElementsAttr::get(cast<VectorType>(eight), ArrayRef<float>(factors))));
          kb.store(kb.shuffle(x, x, order) * powers, kb.at(to, place));
          // Magnitudes compared as bits: NaN > infinity > numbers.
          return Values{now[0] + x, kb.maximum(now[1], kb.bitcast(kb.abs(x), kb.i32()))};
        });
        V sum = kb.reduceAdd(state[0]);
        kb.store(sum * (b.zeroPoints ? -1.0 : -double(b.offset)), kb.at(kb.at(to, g), form.corrections()));
        return Values{kb.maximum(outer[0], kb.convert(kb.reduceMax(state[1]), kb.i64()))};
      });
    });
    return bits[0] <= 0x7149f2ca; // of 1e30f
  }
};

} // namespace

void emitDequantizedPanel(KernelBuilder &kb, const GemmSpec &spec, V column, V k0, V steps, V panel) {
  Emitter emitter(kb, spec);
  if (emitter.form.int4)
    emitter.dequantizeInt4(column, k0, steps, panel);
  else
    emitter.dequantizeInt8(column, k0, steps, panel);
}

int64_t quantizedGemvScratch(const GemmSpec &spec, const TargetInfo &target) {
  return Form(spec, target).row(quantizedGemvRows);
}

void declareQuantizedGemv(KernelBuilder &kb, const GemmSpec &spec) {
  for (int64_t rows = 1; rows <= quantizedGemvRows; ++rows)
    Emitter(kb, spec).emitGemv(rows);
}

V emitQuantizedGemvInput(KernelBuilder &kb, const GemmSpec &spec, V a, V rows) {
  Emitter emitter(kb, spec);
  if (emitter.form.int4)
    return emitter.inputInt4(a, rows);
  return kb.wrap(arith::ConstantOp::create(kb.builder, kb.loc, kb.builder.getBoolAttr(true)));
}

V emitQuantizedGemvPanel(KernelBuilder &kb, const GemmSpec &spec, V a, V column, V rows) {
  Emitter emitter(kb, spec);
  const Form &form = emitter.form;
  V sums = kb.at(kb.scratch, form.sums()), panel = emitter.panelAt(column);
  V input = form.int4 ? kb.at(kb.scratch, form.row(0)) : a;
  V stride = form.int4 ? kb.i(form.rowStride()) : kb.size(spec.lda);
  auto call = [&](int64_t r) { kb.call(emitter.gemvName(r), {input, panel, sums, stride}); };
  kb.ifThen(
      rows == 1, [&] { call(1); },
      [&] { kb.ifThen(rows == 2, [&] { call(2); }, [&] { kb.ifThen(rows == 3, [&] { call(3); }); }); });
  if (!form.int4) // scaled once, at the end
    kb.loop(kb.i(0), rows, 1, [&](V r) {
      for (int64_t v = 0; v < form.vectors; ++v) {
        V scaleBase = kb.at(kb.at(kb.arg(emitter.b.columnScale.arg), kb.size(emitter.b.columnScale.offset)), column);
        V at = kb.at(sums, r * form.nr + v * form.lanes);
        V mask = kb.firstLanes(kb.i(form.n) - column - v * form.lanes);
        kb.store(kb.loadVec(at) * kb.loadMasked(kb.at(scaleBase, v * form.lanes), mask), at);
      }
    });
  return sums;
}

} // namespace llmopt::cpu
