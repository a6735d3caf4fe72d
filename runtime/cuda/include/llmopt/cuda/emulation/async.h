// Asynchronous copies, delivered as late as the program allows, and mbarriers.
//
// cp.async writes when its thread waits for its group; until then the destination
// holds old data, and reading it is an error. A bulk copy (cp.async.bulk, TMA) writes
// and completes its mbarrier when no thread of the block can run otherwise.
#pragma once

#include "llmopt/cuda/emulation/memory.h"

namespace llmopt_emulation {

struct Copy {
  uint32_t to;
  uint32_t bytes, source_bytes; // the rest is zeros
  const char *from;
  uint32_t group;
};

/// The copies of one thread that have not been delivered, oldest first.
struct CopyQueue {
  Copy *items;
  uint32_t begin, end, capacity;
  uint32_t group; // the one that is being filled
};

constexpr int kMaxMbarriers = 64;
constexpr int kMaxBulkCopies = 64;

struct Mbarrier {
  uint32_t address;
  uint32_t expected, pending; // arrivals per phase, and still missing
  int64_t bytes;              // of bulk copies still missing
  uint32_t phase;             // parity of the current one
  uint32_t gathered[kMaxWarps], done[kMaxWarps];
  uint32_t waiting[kMaxWarps];
};

struct BulkCopy {
  uint32_t bytes, barrier; // the address of an mbarrier
  int thread;
  void *argument;
  void (*deliver)(const BulkCopy &copy);
  uint32_t to;
  int64_t column, row; // where the source begins
};

struct Async {
  CopyQueue queues[kMaxThreads];
  Mbarrier barriers[kMaxMbarriers];
  BulkCopy bulk[kMaxBulkCopies];
  int barrier_count, bulk_count;
};

struct AsyncOwner {
  Async *value = nullptr;
  ~AsyncOwner() {
    if (value)
      for (CopyQueue &q : value->queues)
        free(q.items);
    free(value);
  }
};
inline thread_local AsyncOwner async_owner;

inline bool deliver_bulk();

inline bool reset_async(int threads) {
  if (!async_owner.value)
    async_owner.value = static_cast<Async *>(calloc(1, sizeof(Async)));
  if (!async_owner.value) {
    set_error("out of memory for asynchronous copies");
    return false;
  }
  Async &a = *async_owner.value;
  for (int i = 0; i < threads; ++i)
    a.queues[i].begin = a.queues[i].end = a.queues[i].group = 0;
  a.barrier_count = a.bulk_count = 0;
  block->idle = deliver_bulk;
  return true;
}

// ---- cp.async

inline void copy_async(uint32_t to, const void *from, uint32_t bytes, uint32_t source_bytes, Range range) {
  if (bytes != 4 && bytes != 8 && bytes != 16)
    fail("expected cp.async of 4, 8 or 16 bytes, but got %u", bytes);
  if (source_bytes > bytes)
    fail("expected at most %u bytes from the source of cp.async, but got %u", bytes, source_bytes);
  check_shared_bounds(to, bytes, bytes, "cp.async");
  if (source_bytes)
    check_global(static_cast<const char *>(from), source_bytes, bytes, range);
  note_write(to, bytes, /*atomic=*/false, /*in_flight=*/true);
  CopyQueue &q = async_owner.value->queues[block->current];
  if (q.end == q.capacity) {
    const uint32_t capacity = q.capacity ? 2 * q.capacity : 16;
    void *items = realloc(q.items, capacity * sizeof(Copy));
    if (!items)
      fail("out of memory for asynchronous copies");
    q.items = static_cast<Copy *>(items);
    q.capacity = capacity;
  }
  q.items[q.end++] = {to, bytes, source_bytes, static_cast<const char *>(from), q.group};
}

inline void commit_copies() { ++async_owner.value->queues[block->current].group; }

/// Delivers all groups of the current thread but the `pending` newest committed ones;
/// `pending` < 0: those that were not committed, too.
inline void wait_copies(int pending) {
  CopyQueue &q = async_owner.value->queues[block->current];
  const int64_t last = pending < 0 ? INT64_MAX : int64_t(q.group) - pending;
  for (; q.begin < q.end && q.items[q.begin].group < last; ++q.begin) {
    const Copy &copy = q.items[q.begin];
    note_write(copy.to, copy.bytes);
    if (copy.source_bytes)
      memcpy(memory().bytes + copy.to, copy.from, copy.source_bytes);
    memset(memory().bytes + copy.to + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
  }
  if (q.begin == q.end)
    q.begin = q.end = 0;
}

// ---- mbarrier

inline Mbarrier &find_mbarrier(uint32_t address) {
  Async &a = *async_owner.value;
  for (int i = 0; i < a.barrier_count; ++i)
    if (a.barriers[i].address == address)
      return a.barriers[i];
  fail("no mbarrier was initialised at byte %u of shared memory", address);
}

inline void mbarrier_init(uint32_t address, uint32_t count) {
  check_shared_bounds(address, 8, 8, "mbarrier.init");
  Async &a = *async_owner.value;
  if (a.barrier_count == kMaxMbarriers || !count)
    fail("expected at most %d mbarriers with counts, but got more or a count of 0", kMaxMbarriers);
  Mbarrier &m = a.barriers[a.barrier_count++];
  m = Mbarrier();
  m.address = address;
  m.expected = m.pending = count;
}

inline void complete_phase(Mbarrier &m) {
  if (m.pending || m.bytes)
    return;
  m.phase ^= 1;
  m.pending = m.expected;
  Block &b = *block;
  memcpy(m.done, m.gathered, sizeof(m.done));
  memset(m.gathered, 0, sizeof(m.gathered));
  for (int w = 0; w < b.warps; ++w) {
    b.ready[w] |= m.waiting[w];
    m.waiting[w] = 0;
  }
}

/// Arrives, and makes the phase wait for `bytes` more bytes of bulk copies.
inline void mbarrier_arrive(uint32_t address, uint32_t bytes = 0) {
  Mbarrier &m = find_mbarrier(address);
  if (!m.pending)
    fail("more arrivals at the mbarrier at byte %u than its count of %u", address, m.expected);
  block->clocks.release(current_warp(), m.gathered);
  m.bytes += bytes;
  --m.pending;
  complete_phase(m);
}

/// Waits until the phase of this parity is over.
inline void mbarrier_wait(uint32_t address, uint32_t parity) {
  Mbarrier &m = find_mbarrier(address);
  while (m.phase == (parity & 1)) {
    m.waiting[current_warp()] |= 1u << current_lane();
    wait_for(Wait::mbarrier);
  }
  block->clocks.acquire(current_warp(), m.done);
  ++block->clocks.now[current_warp()];
}

// ---- bulk copies

inline void mark_in_flight(uint32_t to, uint32_t bytes) { note_write(to, bytes, false, true); }

/// Queues a copy that the current thread issues; `mark_in_flight` marked what it writes.
inline void issue_bulk(const BulkCopy &copy) {
  Async &a = *async_owner.value;
  find_mbarrier(copy.barrier);
  if (a.bulk_count == kMaxBulkCopies)
    fail("expected at most %d bulk copies in flight, but got more", kMaxBulkCopies);
  a.bulk[a.bulk_count] = copy;
  a.bulk[a.bulk_count++].thread = block->current;
}

/// Marks bytes that a bulk copy of `warp` wrote.
inline void land(uint32_t to, uint32_t bytes, int warp) {
  const Write write = {block->clocks.now[warp], static_cast<uint8_t>(warp), kWarp, false, false};
  for (uint32_t i = to; i < to + bytes; ++i)
    memory().writes[i] = write;
}

/// Delivers the oldest bulk copy; false if there is none.
inline bool deliver_bulk() {
  Async &a = *async_owner.value;
  if (!a.bulk_count)
    return false;
  const BulkCopy copy = a.bulk[0];
  memmove(a.bulk, a.bulk + 1, static_cast<size_t>(--a.bulk_count) * sizeof(BulkCopy));
  copy.deliver(copy);
  Mbarrier &m = find_mbarrier(copy.barrier);
  block->clocks.release(copy.thread / kWarp, m.gathered);
  m.bytes -= copy.bytes;
  complete_phase(m);
  return true;
}

} // namespace llmopt_emulation
