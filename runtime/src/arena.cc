#include "arena.h"

#include <algorithm>

using namespace llmopt::rt;

bool llmopt::rt::layoutArena(ArenaItem *items, size_t count, size_t steps, ArenaWorkspace &workspace, uint64_t *total,
                             uint64_t *lowerBound) {
  // With the sum of all padded sizes below 2^63 nothing below can overflow.
  uint64_t sum = 0;
  for (size_t i = 0; i < count; ++i) {
    uint64_t padded;
    if (!alignUp(items[i].size, arenaAlignment, &padded) || __builtin_add_overflow(sum, padded, &sum) ||
        sum > INT64_MAX)
      return false;
  }
  auto paddedSize = [&](uint32_t i) { return (items[i].size + arenaAlignment - 1) & ~(arenaAlignment - 1); };

  uint32_t *order = workspace.bySize.data();
  for (size_t i = 0; i < count; ++i)
    order[i] = static_cast<uint32_t>(i);
  std::sort(order, order + count, [&](uint32_t a, uint32_t b) {
    if (items[a].size != items[b].size)
      return items[a].size > items[b].size;
    return a < b; // the same layout everywhere
  });

  uint32_t *placed = workspace.placed.data(); // by rising offset
  size_t numPlaced = 0;
  *total = 0;
  for (size_t o = 0; o < count; ++o) {
    uint32_t item = order[o];
    uint64_t size = paddedSize(item);
    items[item].offset = 0;
    if (size == 0)
      continue;
    uint64_t end = 0; // of everything alive with `item` so far
    uint64_t bestOffset = 0, bestGap = UINT64_MAX;
    for (size_t p = 0; p < numPlaced; ++p) {
      const ArenaItem &other = items[placed[p]];
      if (other.last < items[item].first || other.first > items[item].last)
        continue;
      if (other.offset > end) {
        uint64_t gap = other.offset - end;
        if (gap >= size && gap < bestGap) {
          bestGap = gap;
          bestOffset = end;
        }
      }
      end = std::max(end, other.offset + paddedSize(placed[p]));
    }
    uint64_t offset = bestGap == UINT64_MAX ? end : bestOffset;
    items[item].offset = offset;
    *total = std::max(*total, offset + size);

    size_t at = numPlaced++;
    for (; at > 0 && items[placed[at - 1]].offset > offset; --at)
      placed[at] = placed[at - 1];
    placed[at] = item;
  }

  int64_t *change = workspace.liveChange.data();
  std::memset(change, 0, (steps + 1) * sizeof(int64_t));
  for (size_t i = 0; i < count; ++i) {
    int64_t size = static_cast<int64_t>(paddedSize(uint32_t(i)));
    change[items[i].first] += size;
    change[items[i].last + 1] -= size;
  }
  int64_t live = 0, most = 0;
  for (size_t s = 0; s < steps; ++s) {
    live += change[s];
    most = std::max(most, live);
  }
  *lowerBound = static_cast<uint64_t>(most);
  return true;
}
