// What the lanes of a warp do together: shuffles, votes, __syncwarp. Every such
// operation is a meeting of all lanes of its mask; the last lane to come computes
// for all of them.
#pragma once

#include "llmopt/cuda/emulation/memory.h"

namespace llmopt_emulation {

/// Waits until all lanes of `mask` have come to `name` and lets the last one call
/// `compute(lanes, mask)`, where lanes[i] is what lane i brought.
template <typename Slot, typename Compute>
inline void warp_meeting(uint32_t mask, const char *name, Slot &slot, Compute compute) {
  Block &b = *block;
  const int warp = current_warp(), lane = current_lane();
  const uint32_t bit = 1u << lane;
  if (!(mask & bit))
    fail("%s: the mask %08x lacks the calling lane %d", name, mask, lane);
  if (mask & (b.finished[warp] | ~warp_lanes(warp)))
    fail("%s: the mask %08x names lanes that have ended or do not exist", name, mask);
  b.slots[warp][lane] = &slot;
  Meeting *meeting = nullptr;
  for (int i = 0; i < b.meeting_count[warp]; ++i) {
    Meeting &m = b.meetings[warp][i];
    if (m.mask == mask && (m.name == name || strcmp(m.name, name) == 0))
      meeting = &m;
    else if (m.mask & mask)
      fail("divergent warp: lane %d comes to %s with the mask %08x, while others wait in %s with %08x", lane, name,
           mask, m.name, m.mask);
  }
  if (!meeting) {
    meeting = &b.meetings[warp][b.meeting_count[warp]++];
    *meeting = {mask, 0, name};
  }
  meeting->arrived |= bit;
  if (meeting->arrived != mask) {
    wait_for(Wait::warp);
    return;
  }
  *meeting = b.meetings[warp][--b.meeting_count[warp]];
  compute(reinterpret_cast<Slot *const *>(b.slots[warp]), mask);
  // Only a meeting of all orders what the lanes did before with what they do next.
  if (mask == (warp_lanes(warp) & ~b.finished[warp]))
    ++b.clocks.now[warp];
  b.ready[warp] |= mask;
}

template <typename T> struct Exchange {
  T value, result;
  int source;
};

/// Every lane gets what lane `source` of it brought.
template <typename T> inline T exchange(uint32_t mask, const char *name, T value, int source) {
  Exchange<T> slot{value, value, source};
  warp_meeting(mask, name, slot, [name](Exchange<T> *const *lanes, uint32_t all) {
    for (int i = 0; i < kWarp; ++i) {
      if (!(all >> i & 1))
        continue;
      if (!(all >> lanes[i]->source & 1))
        fail("%s: lane %d reads lane %d, which takes no part", name, i, lanes[i]->source);
      lanes[i]->result = lanes[lanes[i]->source]->value;
    }
  });
  return slot.result;
}

struct Vote {
  uint32_t predicate, result;
};
inline uint32_t vote(uint32_t mask, const char *name, bool predicate) {
  Vote slot{predicate, 0};
  warp_meeting(mask, name, slot, [](Vote *const *lanes, uint32_t all) {
    uint32_t ballot = 0;
    for (int i = 0; i < kWarp; ++i)
      if (all >> i & 1 && lanes[i]->predicate)
        ballot |= 1u << i;
    for (int i = 0; i < kWarp; ++i)
      if (all >> i & 1)
        lanes[i]->result = ballot;
  });
  return slot.result;
}

/// The first lane of the segment of `width` lanes that holds the current one.
inline int segment(int width) { return current_lane() / width * width; }

} // namespace llmopt_emulation

template <typename T> inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
  using namespace llmopt_emulation;
  return exchange(mask, "__shfl_sync", value, segment(width) + (lane & (width - 1)));
}
template <typename T> inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  using namespace llmopt_emulation;
  const int source = current_lane() ^ bits;
  return exchange(mask, "__shfl_xor_sync", value, source < segment(width) + width ? source : current_lane());
}
template <typename T> inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  using namespace llmopt_emulation;
  const int source = current_lane() + static_cast<int>(delta);
  return exchange(mask, "__shfl_down_sync", value, source < segment(width) + width ? source : current_lane());
}
template <typename T> inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  using namespace llmopt_emulation;
  const int source = current_lane() - static_cast<int>(delta);
  return exchange(mask, "__shfl_up_sync", value, source >= segment(width) ? source : current_lane());
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return llmopt_emulation::vote(mask, "__ballot_sync", predicate != 0);
}
inline int __any_sync(unsigned mask, int predicate) {
  return llmopt_emulation::vote(mask, "__any_sync", predicate != 0) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return llmopt_emulation::vote(mask, "__all_sync", predicate == 0) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  using namespace llmopt_emulation;
  // A block whose size is no multiple of a warp has one with fewer lanes.
  vote(mask == 0xffffffffu ? warp_lanes(current_warp()) : mask, "__syncwarp", false);
}
