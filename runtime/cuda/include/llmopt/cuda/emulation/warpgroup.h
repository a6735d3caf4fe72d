// Hopper at the level of warpgroups: TMA loads of two-dimensional tiles with the 128-byte
// swizzle, and wgmma, whose products appear in the accumulators only at the wait.
//
// A descriptor of shared memory is decoded as the PTX ISA says ("Matrix descriptor"):
// address / 16 in bits 0 to 13, the distance between groups of eight rows / 16 in bits 32
// to 45, the swizzle in bits 62 and 63; only K-major operands of 128-byte rows exist here.
#pragma once

#include "llmopt/cuda/emulation/async.h"
#include "llmopt/cuda/emulation/tensor.h"

namespace llmopt_emulation {

/// What cuTensorMapEncodeTiled makes of a row-major matrix, rows of 128 bytes per box.
struct TensorMap {
  const char *base;
  int64_t rows, row_bytes, stride_bytes; // row_bytes: what exists of a row
  int32_t element_bytes, box_rows;
};

inline uint32_t swizzle_128(uint32_t address) { return address ^ (address >> 7 & 7) << 4; }

inline void deliver_tile(const BulkCopy &copy) {
  const TensorMap &map = *static_cast<const TensorMap *>(copy.argument);
  unsigned char *bytes = memory().bytes;
  for (int32_t r = 0; r < map.box_rows; ++r)
    for (uint32_t b = 0; b < 128; ++b) {
      const int64_t row = copy.row + r, column = copy.column + b;
      const bool inside = row >= 0 && row < map.rows && column >= 0 && column < map.row_bytes;
      bytes[swizzle_128(copy.to + static_cast<uint32_t>(r) * 128 + b)] =
          inside ? static_cast<unsigned char>(map.base[row * map.stride_bytes + column]) : 0;
    }
  land(copy.to, copy.bytes, copy.thread / kWarp);
}

/// Loads the box at element (column, row) into `to`, and completes its bytes on `barrier`.
inline void load_tile(uint32_t to, const TensorMap *map, uint32_t barrier, int32_t column, int32_t row) {
  const uint32_t bytes = static_cast<uint32_t>(map->box_rows) * 128;
  check_shared_bounds(to, bytes, 1024, "cp.async.bulk.tensor");
  mark_in_flight(to, bytes);
  BulkCopy copy = {};
  copy.to = to;
  copy.bytes = bytes;
  copy.barrier = barrier;
  copy.argument = const_cast<TensorMap *>(map);
  copy.deliver = deliver_tile;
  copy.column = int64_t(column) * map->element_bytes;
  copy.row = row;
  issue_bulk(copy);
}

// ---- wgmma

constexpr int kGroup = 128; // threads of a warpgroup
constexpr int kMaxProducts = 64;

struct Product {
  void (*compute)(const Product &p);
  uint64_t a, b;
  void *sums[kGroup];
  bool keeps; // adds to what is there
  uint32_t batch;
};
struct WarpGroup {
  Product products[kMaxProducts];
  int count, arrived;
  uint32_t batch; // the one that is being filled
  uint32_t waiting[4];
};
struct WarpGroupsOwner {
  WarpGroup *value = nullptr;
  ~WarpGroupsOwner() { free(value); }
};
inline thread_local WarpGroupsOwner warp_groups;

/// Forgets what a block that failed left.
inline void reset_groups() {
  if (warp_groups.value)
    memset(static_cast<void *>(warp_groups.value), 0, kMaxThreads / kGroup * sizeof(WarpGroup));
}

inline WarpGroup &current_group() {
  constexpr int groups = kMaxThreads / kGroup;
  if (!warp_groups.value)
    warp_groups.value = static_cast<WarpGroup *>(calloc(groups, sizeof(WarpGroup)));
  if (!warp_groups.value)
    fail("out of memory for warpgroups");
  block->reset = reset_groups;
  return warp_groups.value[block->current / kGroup];
}

/// Waits until all threads of the warpgroup have come; the last one calls `act`.
template <typename Act> inline void group_meeting(Act act) {
  WarpGroup &g = current_group();
  Block &b = *block;
  if (++g.arrived < kGroup) {
    g.waiting[current_warp() % 4] |= 1u << current_lane();
    wait_for(Wait::warp);
    return;
  }
  g.arrived = 0;
  act(g);
  const int first = current_warp() / 4 * 4;
  for (int w = 0; w < 4; ++w) {
    b.ready[first + w] |= g.waiting[w];
    g.waiting[w] = 0;
  }
}

/// What a descriptor says of one operand: rows of 32 bytes along K.
struct Operand {
  uint32_t address, group_stride;
  explicit Operand(uint64_t descriptor) {
    if (descriptor >> 62 != 1)
      fail("expected a descriptor with the 128-byte swizzle, but got mode %d", static_cast<int>(descriptor >> 62));
    address = static_cast<uint32_t>(descriptor & 0x3fff) << 4;
    group_stride = static_cast<uint32_t>(descriptor >> 32 & 0x3fff) << 4;
  }
  /// Byte `k` of row `row`, checked.
  const unsigned char *chunk(int row, int k) const {
    const uint32_t at = swizzle_128(address + static_cast<uint32_t>(row / 8) * group_stride + row % 8 * 128u +
                                    static_cast<uint32_t>(k));
    check_shared_bounds(at, 16, 16, "wgmma");
    note_read(at, 16);
    return memory().bytes + at;
  }
};

template <typename Element, typename Number, int N> void multiply_group(const Product &p) {
  constexpr int k_size = 32 / static_cast<int>(sizeof(Element));
  static thread_local Number a[64][k_size], b[k_size][N];
  const Operand x(p.a), w(p.b);
  for (int row = 0; row < 64; ++row)
    for (int k = 0; k < 32; k += 16) {
      Element values[16 / sizeof(Element)];
      memcpy(values, x.chunk(row, k), 16);
      for (size_t i = 0; i < 16 / sizeof(Element); ++i)
        a[row][static_cast<size_t>(k) / sizeof(Element) + i] = values[i].number();
    }
  for (int column = 0; column < N; ++column)
    for (int k = 0; k < 32; k += 16) {
      Element values[16 / sizeof(Element)];
      memcpy(values, w.chunk(column, k), 16);
      for (size_t i = 0; i < 16 / sizeof(Element); ++i)
        b[static_cast<size_t>(k) / sizeof(Element) + i][column] = values[i].number();
    }
  for (int row = 0; row < 64; ++row) {
    Number sum[N] = {};
    for (int k = 0; k < k_size; ++k)
      for (int column = 0; column < N; ++column)
        sum[column] += a[row][k] * b[k][column];
    for (int column = 0; column < N; ++column) {
      const int thread = row / 16 * 32 + row % 8 * 4 + column % 8 / 2;
      Number &to = static_cast<Number *>(p.sums[thread])[column / 8 * 4 + row % 16 / 8 * 2 + column % 2];
      to = p.keeps ? to + sum[column] : sum[column];
    }
  }
}

struct HalfElement {
  uint16_t bits;
  float number() const { return half_to_float(bits); }
};
struct BfloatElement {
  uint16_t bits;
  float number() const { return bfloat_to_float(bits); }
};
struct ByteElement {
  int8_t value;
  int32_t number() const { return value; }
};
struct Float8Element {
  uint8_t bits;
  float number() const { return float8_to_float(bits); }
};

/// Queues sums (+)= A B; every thread of the warpgroup brings its accumulators.
template <typename Element, typename Number, int N>
inline void queue_product(Number *sums, uint64_t a, uint64_t b, bool keeps) {
  WarpGroup &g = current_group();
  if (g.count == kMaxProducts)
    fail("expected at most %d products of a warpgroup in flight, but got more", kMaxProducts);
  Product &p = g.products[g.count];
  p.sums[block->current % kGroup] = sums;
  if (g.arrived && (p.a != a || p.b != b || p.keeps != keeps))
    fail("the threads of a warpgroup bring different operands to wgmma");
  p.compute = multiply_group<Element, Number, N>;
  p.a = a;
  p.b = b;
  p.keeps = keeps;
  p.batch = g.batch;
  group_meeting([](WarpGroup &group) { ++group.count; });
}
inline void commit_products() {
  group_meeting([](WarpGroup &group) { ++group.batch; });
}
/// Computes all but the `pending` newest committed batches.
inline void wait_products(int pending) {
  group_meeting([pending](WarpGroup &group) {
    int done = 0;
    for (; done < group.count && static_cast<int64_t>(group.products[done].batch) < int64_t(group.batch) - pending;
         ++done)
      group.products[done].compute(group.products[done]);
    group.count -= done;
    memmove(group.products, group.products + done, static_cast<size_t>(group.count) * sizeof(Product));
  });
}

} // namespace llmopt_emulation
