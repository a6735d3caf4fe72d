// One thread block: its CUDA threads as fibers, the order they run in, barriers,
// and what went wrong.
//
// One block runs at a time per OS thread. A thread runs until it has to wait; a
// block that cannot go on is an error, not a hang. The first error ends the block:
// nothing after it is executed, and nothing ever aborts.
#pragma once

#include "llmopt/cuda/emulation/fiber.h"

#include <new>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace llmopt_emulation {

struct Index3 {
  unsigned x = 0, y = 0, z = 0;
};
struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};

constexpr int kMaxThreads = 1024;
constexpr int kWarp = 32;
constexpr int kMaxWarps = kMaxThreads / kWarp;
constexpr size_t kStackBytes = 64 * 1024;
constexpr int kNamedBarriers = 16;

/// What a thread block knows about time. Clocks count what a warp did that others
/// can order themselves after; `known[w][v]` is the last moment of warp v that
/// happened before what warp w does now.
struct Clocks {
  uint32_t now[kMaxWarps];
  uint32_t known[kMaxWarps][kMaxWarps];

  void release(int warp, uint32_t *moments) {
    for (int v = 0; v < kMaxWarps; ++v)
      moments[v] = moments[v] > known[warp][v] ? moments[v] : known[warp][v];
    moments[warp] = now[warp] > moments[warp] ? now[warp] : moments[warp];
    ++now[warp];
  }
  void acquire(int warp, const uint32_t *moments) {
    for (int v = 0; v < kMaxWarps; ++v)
      known[warp][v] = known[warp][v] > moments[v] ? known[warp][v] : moments[v];
  }
};

/// Lanes of one warp that meet in a collective operation.
struct Meeting {
  uint32_t mask, arrived;
  const char *name;
};

struct NamedBarrier {
  int expected = 0, arrived = 0;
  uint32_t waiting[kMaxWarps] = {};
  uint32_t moments[kMaxWarps] = {};
};

enum class Wait : uint8_t { none, barrier, warp, named, mbarrier, grid };

struct Block {
  Fiber scheduler;
  Fiber fibers[kMaxThreads];
  char *stacks = nullptr;
  void (*entry)(void *) = nullptr;
  void *argument = nullptr;

  int threads = 0, warps = 0, current = 0, finished_count = 0;
  uint32_t ready[kMaxWarps], finished[kMaxWarps];
  Wait waits[kMaxThreads];
  bool failed = false;
  uint64_t random = 0; // 0: threads run in order

  int barrier_arrived = 0, barrier_line = 0;
  const char *barrier_file = nullptr;
  int barrier_sum = 0, barrier_result = 0;
  NamedBarrier named[kNamedBarriers];

  uint32_t grid_waited[kMaxWarps]; // lanes behind wait_for_grid_dependency
  int grid_arrived = 0;

  Meeting meetings[kMaxWarps][kWarp];
  int meeting_count[kMaxWarps];
  void *slots[kMaxWarps][kWarp];

  Clocks clocks;
  /// Called when no thread can run: whether something that was put off made one ready.
  bool (*idle)() = nullptr;
  /// Called before a block runs, by what keeps more state per block.
  void (*reset)() = nullptr;
};

inline thread_local Block *block = nullptr;
inline thread_local Index3 thread_index, block_index;
inline thread_local Dim3 block_dim, grid_dim;

struct ErrorText {
  char text[512] = "";
};
inline thread_local ErrorText error_text;

/// What first went wrong on this OS thread since `clear_error`; "" if nothing did.
inline const char *last_error() { return error_text.text; }
inline void clear_error() { error_text.text[0] = 0; }

__attribute__((format(printf, 1, 2))) inline void set_error(const char *format, ...) {
  if (error_text.text[0])
    return;
  va_list list;
  va_start(list, format);
  vsnprintf(error_text.text, sizeof(error_text.text), format, list);
  va_end(list);
}

/// Ends the block with an error, which names the place. Does not return.
__attribute__((format(printf, 1, 2), noreturn, noinline, cold)) inline void fail(const char *format, ...) {
  char text[384];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof(text), format, list);
  va_end(list);
  set_error("block (%u, %u, %u), thread %d: %s", block_index.x, block_index.y, block_index.z, block->current, text);
  block->failed = true;
  for (;;)
    switch_fiber(block->fibers[block->current], block->scheduler);
}

/// A launch that may begin before what is in front of it is done. Threads then must wait for
/// that, and touch nothing but constant ranges before. `change(false)` is called when a block
/// begins, `change(true)` when all of its threads wait: the caller's chance to show memory as
/// it was, or as nobody has left it, in between.
struct EarlyLaunch {
  bool enabled = false;
  void (*change)(int waited) = nullptr;
};
inline thread_local EarlyLaunch early_launch;

inline int current_warp() { return block->current / kWarp; }
inline int current_lane() { return block->current % kWarp; }
/// The lanes that a warp started with.
inline uint32_t warp_lanes(int warp) {
  const int lanes = block->threads - warp * kWarp;
  return lanes >= kWarp ? 0xffffffffu : (1u << lanes) - 1;
}

/// Lets others run until something makes this thread ready.
inline void wait_for(Wait reason) {
  Block &b = *block;
  b.ready[b.current / kWarp] &= ~(1u << b.current % kWarp);
  b.waits[b.current] = reason;
  switch_fiber(b.fibers[b.current], b.scheduler);
}

// ---- __syncthreads

inline void release_barrier(Block &b) {
  b.barrier_result = b.barrier_sum;
  b.barrier_sum = b.barrier_arrived = 0;
  for (int w = 0; w < b.warps; ++w)
    for (int v = 0; v < b.warps; ++v)
      b.clocks.known[w][v] = b.clocks.now[v];
  for (int w = 0; w < b.warps; ++w) {
    ++b.clocks.now[w];
    b.ready[w] = warp_lanes(w);
  }
}

/// Waits for all threads of the block and gives the sum of what they brought.
inline int synchronise(const char *file, int line, int value = 0) {
  Block &b = *block;
  if (b.barrier_arrived == 0) {
    b.barrier_file = file;
    b.barrier_line = line;
  } else if (b.barrier_line != line || strcmp(b.barrier_file, file) != 0) {
    fail("divergent barrier: waits at %s:%d, while others wait at %s:%d", file, line, b.barrier_file, b.barrier_line);
  }
  b.barrier_sum += value;
  if (++b.barrier_arrived == b.threads)
    release_barrier(b);
  else
    wait_for(Wait::barrier);
  return b.barrier_result;
}

// ---- bar.sync and bar.arrive with a count: parts of a block that meet

inline void named_barrier(int id, int count, bool waits) {
  Block &b = *block;
  if (id < 0 || id >= kNamedBarriers || count <= 0 || count % kWarp)
    fail("expected a barrier below %d and a count in whole warps, but got %d and %d", kNamedBarriers, id, count);
  NamedBarrier &n = b.named[id];
  if (n.arrived && n.expected != count)
    fail("barrier %d is used with counts of %d and %d threads", id, n.expected, count);
  const int warp = current_warp();
  n.expected = count;
  b.clocks.release(warp, n.moments);
  if (waits)
    n.waiting[warp] |= 1u << current_lane();
  if (++n.arrived < count) {
    if (waits)
      wait_for(Wait::named);
    return;
  }
  for (int w = 0; w < b.warps; ++w) {
    if (!n.waiting[w])
      continue;
    b.clocks.acquire(w, n.moments);
    ++b.clocks.now[w];
    b.ready[w] |= n.waiting[w];
  }
  n = NamedBarrier();
}

// ---- griddepcontrol.wait

inline bool is_before_grid_dependency(const Block &b) {
  return early_launch.enabled && !(b.grid_waited[b.current / kWarp] >> b.current % kWarp & 1);
}

/// Orders nothing between the threads of a block.
inline void wait_for_grid_dependency() {
  Block &b = *block;
  if (!is_before_grid_dependency(b))
    return;
  b.grid_waited[b.current / kWarp] |= 1u << b.current % kWarp;
  if (++b.grid_arrived < b.threads)
    return wait_for(Wait::grid);
  if (early_launch.change)
    early_launch.change(1);
  for (int w = 0; w < b.warps; ++w)
    b.ready[w] = warp_lanes(w); // nobody can wait for anything else
}

// ---- the scheduler

inline void fiber_main() {
  Block &b = *block;
  b.entry(b.argument);
  if (is_before_grid_dependency(b))
    fail("ended without grid_dependency_wait: what runs next could start before what ran in front is done");
  const int warp = b.current / kWarp;
  const uint32_t bit = 1u << b.current % kWarp;
  b.finished[warp] |= bit;
  b.ready[warp] &= ~bit;
  ++b.finished_count;
  for (;;)
    switch_fiber(b.fibers[b.current], b.scheduler);
}

inline uint32_t next_random(Block &b) {
  b.random ^= b.random << 13;
  b.random ^= b.random >> 7;
  b.random ^= b.random << 17;
  return static_cast<uint32_t>(b.random >> 32);
}

/// The next thread to run; -1 if none can.
inline int pick_thread(Block &b, int &warp) {
  if (b.random)
    warp = static_cast<int>(next_random(b) % static_cast<unsigned>(b.warps));
  for (int i = 0; i < b.warps; ++i, warp = warp + 1 == b.warps ? 0 : warp + 1) {
    const uint32_t ready = b.ready[warp];
    if (!ready)
      continue;
    if (!b.random)
      return warp * kWarp + __builtin_ctz(ready);
    const unsigned turn = next_random(b) % kWarp;
    const uint32_t turned = turn ? ready >> turn | ready << (kWarp - turn) : ready;
    return warp * kWarp + static_cast<int>((static_cast<unsigned>(__builtin_ctz(turned)) + turn) % kWarp);
  }
  return -1;
}

inline void report_deadlock(Block &b) {
  int counts[6] = {}, first = -1;
  for (int i = 0; i < b.threads; ++i) {
    if (b.finished[i / kWarp] >> i % kWarp & 1)
      continue;
    ++counts[static_cast<int>(b.waits[i])];
    first = first < 0 ? i : first;
  }
  const char *name = b.meeting_count[first / kWarp] ? b.meetings[first / kWarp][0].name : "nothing";
  set_error(
      "block (%u, %u, %u): divergent barrier: of %d threads %d have ended, %d wait at __syncthreads (%s:%d), %d in "
      "a collective of their warp (%s), %d at a named barrier, %d at an mbarrier and %d at grid_dependency_wait",
      block_index.x, block_index.y, block_index.z, b.threads, b.finished_count, counts[1],
      b.barrier_file ? b.barrier_file : "none", b.barrier_line, counts[2], name, counts[3], counts[4], counts[5]);
  b.failed = true;
}

inline uint64_t seed_from_environment() {
  const char *text = getenv("LLMOPT_EMULATION_SEED");
  return text ? strtoull(text, nullptr, 10) * 0x9e3779b97f4a7c15ull : 0;
}

struct BlockOwner {
  Block *value = nullptr;
  ~BlockOwner() {
    if (value) {
      free(value->stacks);
      free(value);
    }
    block = nullptr;
  }
};
inline thread_local BlockOwner block_owner;

/// The block of this OS thread; null if there is no memory.
inline Block *get_block() {
  if (!block) {
    void *memory = malloc(sizeof(Block));
    char *stacks = static_cast<char *>(malloc(kMaxThreads * kStackBytes));
    if (!memory || !stacks) {
      free(memory);
      free(stacks);
      set_error("out of memory for the stacks of a thread block");
      return nullptr;
    }
    block_owner.value = block = ::new (memory) Block();
    block->stacks = stacks;
  }
  return block;
}

/// Sets up `b` for a block of `threads` threads and runs it to its end.
inline bool run_fibers(Block &b, int threads) {
  if (b.reset)
    b.reset();
  b.threads = threads;
  b.warps = (threads + kWarp - 1) / kWarp;
  b.finished_count = b.barrier_arrived = b.barrier_sum = b.grid_arrived = 0;
  b.barrier_file = nullptr;
  b.failed = false;
  memset(&b.clocks, 0, sizeof(b.clocks));
  for (int w = 0; w < b.warps; ++w) {
    b.ready[w] = warp_lanes(w);
    b.finished[w] = b.grid_waited[w] = 0;
    b.meeting_count[w] = 0;
    b.clocks.now[w] = 1;
  }
  for (NamedBarrier &n : b.named)
    n = NamedBarrier();
  for (int i = 0; i < threads; ++i) {
    b.waits[i] = Wait::none;
    prepare_fiber(b.fibers[i], b.stacks + i * kStackBytes, kStackBytes, fiber_main);
  }
  if (early_launch.enabled && early_launch.change)
    early_launch.change(0);
  thread_index = Index3();
  const unsigned width = block_dim.x, plane = block_dim.x * block_dim.y;
  for (int warp = 0; b.finished_count < threads;) {
    const int next = pick_thread(b, warp);
    if (next < 0 && b.idle && b.idle())
      continue;
    if (next < 0) {
      report_deadlock(b);
      return false;
    }
    b.current = next;
    const unsigned index = static_cast<unsigned>(next);
    if (width == static_cast<unsigned>(threads)) {
      thread_index.x = index;
    } else {
      thread_index.x = index % width;
      thread_index.y = index % plane / width;
      thread_index.z = index / plane;
    }
    switch_fiber(b.scheduler, b.fibers[next]);
    if (b.failed)
      return false;
  }
  return true;
}

} // namespace llmopt_emulation
