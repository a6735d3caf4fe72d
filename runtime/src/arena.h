// Where intermediate values live: offsets in one block of memory such that
// values alive at the same step never overlap. Values that share memory on
// purpose (in-place operations) come as one item; the compiler wrote them as
// views of one buffer.
#ifndef LLMOPT_RT_ARENA_H
#define LLMOPT_RT_ARENA_H

#include "common.h"

namespace llmopt::rt {

struct ArenaItem {
  uint64_t size;        ///< bytes, any
  uint32_t first, last; ///< live steps, inclusive
  uint64_t offset;      ///< result, a multiple of arenaAlignment
};

constexpr uint64_t arenaAlignment = 64;

/// Working memory for layouts of up to `items` items over `steps` steps, so
/// that laying out allocates nothing.
struct ArenaWorkspace {
  Array<uint32_t> bySize;
  Array<uint32_t> placed;
  Array<int64_t> liveChange;

  [[nodiscard]] bool allocate(size_t items, size_t steps) {
    return bySize.allocate(items) && placed.allocate(items) && liveChange.allocate(steps + 1);
  }
};

/// Greedy by size, best fit: largest first, each into the smallest gap between
/// the placed items it is alive with (Pisarchyk and Lee, "Efficient Memory
/// Management for Deep Neural Net Inference", 2020). `total` is the size of the
/// block, `lowerBound` the largest sum of sizes alive at one step. False where
/// sizes overflow.
bool layoutArena(ArenaItem *items, size_t count, size_t steps, ArenaWorkspace &workspace, uint64_t *total,
                 uint64_t *lowerBound);

} // namespace llmopt::rt

#endif
