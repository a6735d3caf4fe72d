// Shared and global memory with bounds, and the race detector of shared memory.
//
// Shared memory that is declared through LLMOPT_SHARED or LLMOPT_DYNAMIC_SHARED
// lies in one arena per block and carries, per byte, who wrote it and when, and
// when each warp last read it. An access that the clocks of the block (block.h) do
// not order after an earlier one by another thread is an error, as is a read of
// what nobody wrote. Global memory is checked against the ranges that the caller
// registered, where it registered any.
#pragma once

#include "llmopt/cuda/emulation/block.h"

#include <type_traits>

namespace llmopt_emulation {

constexpr uint32_t kSharedBytes = 227 * 1024; // of sm_90; less on others
constexpr int kMaxArrays = 32;

struct SharedArray {
  const void *key;
  uint32_t begin, end;
};

/// Who wrote a byte, and when.
struct Write {
  uint32_t clock;
  uint8_t warp, lane;
  bool atomic, in_flight; // in flight: an asynchronous copy will write it
};
static_assert(sizeof(Write) == 8, "one word per byte");

/// When a warp last read a byte: its clock, and which lane (kWarp: several).
struct Read {
  uint32_t clock : 26, lane : 6;
};

struct Memory {
  unsigned char bytes[kSharedBytes];
  Write writes[kSharedBytes];
  Read reads[kMaxWarps][kSharedBytes];
  SharedArray arrays[kMaxArrays];
  int array_count = 0;
  uint32_t used = 0, dynamic_bytes = 0, cleared_warps = 0;
};

struct MemoryOwner {
  Memory *value = nullptr;
  ~MemoryOwner() { free(value); }
};
inline thread_local MemoryOwner memory_owner;

inline Memory &memory() { return *memory_owner.value; }

/// Whether accesses to shared memory are checked for races; LLMOPT_EMULATION_CHECK=0
/// leaves only bounds.
inline bool checks_races() {
  static const bool value = [] {
    const char *text = getenv("LLMOPT_EMULATION_CHECK");
    return !text || text[0] != '0';
  }();
  return value;
}

/// Empties the arena for a new block: bytes are NaNs, unwritten.
inline bool reset_memory(uint32_t dynamic_bytes, int warps) {
  if (!memory_owner.value) {
    void *fresh = calloc(1, sizeof(Memory));
    if (!fresh) {
      set_error("out of memory for the shared memory of a thread block");
      return false;
    }
    memory_owner.value = static_cast<Memory *>(fresh);
  }
  Memory &m = memory();
  if (dynamic_bytes > kSharedBytes) {
    set_error("expected at most %u bytes of dynamic shared memory, but got %u", kSharedBytes, dynamic_bytes);
    return false;
  }
  const uint32_t bytes = m.used;
  memset(m.writes, 0, bytes * sizeof(Write));
  for (uint32_t w = 0; w < m.cleared_warps; ++w)
    memset(m.reads[w], 0, bytes * sizeof(Read));
  m.cleared_warps = static_cast<uint32_t>(warps);
  m.array_count = 0;
  m.used = 0;
  m.dynamic_bytes = dynamic_bytes;
  return true;
}

/// The array that `key` names in this block, `bytes` long; the first thread that
/// asks lays it out.
inline uint32_t get_shared_array(const void *key, uint64_t bytes, uint32_t alignment = 128) {
  Memory &m = memory();
  for (int i = 0; i < m.array_count; ++i)
    if (m.arrays[i].key == key)
      return m.arrays[i].begin;
  const uint32_t begin = (m.used + alignment - 1) / alignment * alignment;
  if (m.array_count == kMaxArrays || begin + bytes > kSharedBytes)
    fail("expected at most %u bytes of shared memory in %d arrays, but got more", kSharedBytes, kMaxArrays);
  m.used = begin + static_cast<uint32_t>(bytes);
  m.arrays[m.array_count++] = {key, begin, m.used};
  memset(m.bytes + begin, 0xff, bytes);
  return begin;
}

inline char dynamic_key;
inline uint32_t get_dynamic_shared() { return get_shared_array(&dynamic_key, memory().dynamic_bytes, 1024); }

inline void check_shared_bounds(uint32_t begin, uint32_t bytes, uint32_t alignment, const char *what) {
  const Memory &m = memory();
  if (begin % alignment)
    fail("misaligned %s of %u bytes at byte %u of shared memory", what, bytes, begin);
  for (int i = 0; i < m.array_count; ++i)
    if (begin >= m.arrays[i].begin && begin + bytes <= m.arrays[i].end && begin + bytes >= begin)
      return;
  fail("out of bounds: %s of %u bytes at byte %u of shared memory, which lies in none of its %d arrays", what, bytes,
       begin, m.array_count);
}

__attribute__((noinline, cold)) inline void report_race(const char *what, uint32_t byte, const char *other, int warp,
                                                        int lane) {
  if (lane == kWarp)
    fail("race in shared memory: %s of byte %u, which several threads of warp %d %s with no barrier between", what,
         byte, warp, other);
  fail("race in shared memory: %s of byte %u, which thread %d %s with no barrier between", what, byte,
       warp * kWarp + lane, other);
}

/// The last write of `byte` happened before what the current thread does now.
inline bool is_ordered(const Clocks &c, const Write &write, int warp, int lane) {
  if (write.warp != warp)
    return write.clock <= c.known[warp][write.warp];
  return write.lane == lane || write.clock < c.now[warp];
}

inline void note_read(uint32_t begin, uint32_t bytes) {
  if (!checks_races())
    return;
  Memory &m = memory();
  const Clocks &c = block->clocks;
  const int warp = current_warp(), lane = current_lane();
  for (uint32_t i = begin; i < begin + bytes; ++i) {
    const Write &write = m.writes[i];
    if (write.in_flight)
      fail("read of byte %u of shared memory, which an asynchronous copy may not have written: a wait is missing", i);
    if (!write.clock)
      fail("read of byte %u of shared memory, which nothing wrote", i);
    if (!is_ordered(c, write, warp, lane))
      report_race("read", i, "wrote", write.warp, write.lane);
    Read &read = m.reads[warp][i];
    read.lane =
        static_cast<uint32_t>(read.clock == c.now[warp] && static_cast<int>(read.lane) != lane ? kWarp : lane) & 63u;
    read.clock = c.now[warp] & 0x3ffffffu;
  }
}

inline void note_write(uint32_t begin, uint32_t bytes, bool atomic = false, bool in_flight = false) {
  if (!checks_races())
    return;
  Memory &m = memory();
  const Clocks &c = block->clocks;
  const int warp = current_warp(), lane = current_lane();
  for (uint32_t i = begin; i < begin + bytes; ++i) {
    Write &write = m.writes[i];
    if (write.clock && !(atomic && write.atomic) && !is_ordered(c, write, warp, lane))
      report_race("write", i, "wrote", write.warp, write.lane);
    for (int w = 0; w < block->warps; ++w) {
      const Read &read = m.reads[w][i];
      if (!read.clock)
        continue;
      if (w == warp ? read.clock >= c.now[w] && static_cast<int>(read.lane) != lane : read.clock > c.known[warp][w])
        report_race("write", i, "read", w, static_cast<int>(read.lane));
    }
    write = {c.now[warp], static_cast<uint8_t>(warp), static_cast<uint8_t>(lane), atomic, in_flight};
  }
}

// ---- global memory

struct Range {
  uintptr_t begin, end;
  bool constant = false; // no kernel writes it
};
struct Ranges {
  Range *items = nullptr;
  int count = 0, capacity = 0;
  ~Ranges() { free(items); }
};
inline thread_local Ranges ranges;

/// Makes `bytes` bytes at `pointer` known as one buffer of global memory to kernels
/// that this OS thread runs. Once a range is registered, kernels may touch no other
/// memory through `global`. `constant`: no kernel writes it. False if there is no memory.
inline bool register_range(const void *pointer, size_t bytes, bool constant = false) {
  if (ranges.count == ranges.capacity) {
    const int capacity = ranges.capacity ? 2 * ranges.capacity : 64;
    void *items = realloc(ranges.items, static_cast<size_t>(capacity) * sizeof(Range));
    if (!items)
      return false;
    ranges.items = static_cast<Range *>(items);
    ranges.capacity = capacity;
  }
  const uintptr_t begin = reinterpret_cast<uintptr_t>(pointer);
  ranges.items[ranges.count++] = {begin, begin + bytes, constant};
  return true;
}
inline void unregister_range(const void *pointer) {
  for (int i = 0; i < ranges.count; ++i)
    if (ranges.items[i].begin == reinterpret_cast<uintptr_t>(pointer)) {
      ranges.items[i] = ranges.items[--ranges.count];
      return;
    }
}
inline void unregister_ranges() { ranges.count = 0; }

/// The buffer that holds `pointer`, or everything where none is registered. A pointer
/// just past a buffer belongs to it unless another one begins there.
inline Range find_range(const void *pointer) {
  const uintptr_t p = reinterpret_cast<uintptr_t>(pointer);
  if (!ranges.count)
    return {0, UINTPTR_MAX};
  Range result = {p, p};
  for (int i = 0; i < ranges.count; ++i) {
    if (p >= ranges.items[i].begin && p < ranges.items[i].end)
      return ranges.items[i];
    if (p == ranges.items[i].end)
      result = ranges.items[i];
  }
  return result;
}

__attribute__((noinline, cold)) inline void report_global(uintptr_t p, size_t bytes, Range range) {
  fail("out of bounds: access of %zu bytes at byte %td of a buffer of %zu bytes in global memory", bytes,
       static_cast<ptrdiff_t>(p - range.begin), static_cast<size_t>(range.end - range.begin));
}
inline void check_global(const void *pointer, size_t bytes, size_t alignment, Range range) {
  const uintptr_t p = reinterpret_cast<uintptr_t>(pointer);
  if (p < range.begin || p > range.end || range.end - p < bytes)
    report_global(p, bytes, range);
  if (p % alignment)
    fail("misaligned access of %zu bytes in global memory", bytes);
  if (!range.constant && is_before_grid_dependency(*block))
    fail(
        "access of %zu bytes in global memory that a kernel in front may still write: grid_dependency_wait comes later",
        bytes);
}

} // namespace llmopt_emulation

namespace llmopt {

/// A pointer into global memory that stays inside the buffer it was made from.
template <typename T> class global {
public:
  global(T *pointer) : pointer(pointer), range(llmopt_emulation::find_range(pointer)) {}
  global(T *pointer, llmopt_emulation::Range range) : pointer(pointer), range(range) {}
  template <typename U, typename = std::enable_if_t<std::is_same_v<T, const U>>>
  global(global<U> other) : pointer(other.get()), range(other.bounds()) {}

  T &operator[](int64_t i) const {
    llmopt_emulation::check_global(pointer + i, sizeof(T), alignof(T), range);
    return pointer[i];
  }
  T &operator*() const { return (*this)[0]; }
  global operator+(int64_t n) const { return {pointer + n, range}; }
  global &operator+=(int64_t n) {
    pointer += n;
    return *this;
  }
  explicit operator bool() const { return pointer != nullptr; }
  T *get() const { return pointer; }
  llmopt_emulation::Range bounds() const { return range; }

private:
  T *pointer;
  llmopt_emulation::Range range;
};

/// One element of shared memory.
template <typename T> class shared_reference {
public:
  explicit shared_reference(uint32_t address) : address(address) {}
  operator T() const {
    llmopt_emulation::check_shared_bounds(address, sizeof(T), alignof(T), "read");
    llmopt_emulation::note_read(address, sizeof(T));
    T value;
    memcpy(&value, llmopt_emulation::memory().bytes + address, sizeof(T));
    return value;
  }
  const shared_reference &operator=(T value) const {
    llmopt_emulation::check_shared_bounds(address, sizeof(T), alignof(T), "write");
    llmopt_emulation::note_write(address, sizeof(T));
    memcpy(llmopt_emulation::memory().bytes + address, &value, sizeof(T));
    return *this;
  }
  const shared_reference &operator=(const shared_reference &other) const { return *this = T(other); }
  const shared_reference &operator+=(T value) const { return *this = T(*this) + value; }

private:
  uint32_t address;
};

/// A pointer into shared memory.
template <typename T> class shared {
public:
  explicit shared(uint32_t address) : address(address) {}
  shared_reference<T> operator[](int64_t i) const {
    return shared_reference<T>(static_cast<uint32_t>(address + i * static_cast<int64_t>(sizeof(T))));
  }
  shared_reference<T> operator*() const { return (*this)[0]; }
  shared operator+(int64_t n) const {
    return shared(static_cast<uint32_t>(address + n * static_cast<int64_t>(sizeof(T))));
  }
  uint32_t get() const { return address; }

private:
  uint32_t address;
};

} // namespace llmopt
