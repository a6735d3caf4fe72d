#include "arena.h"

#include <gtest/gtest.h>
#include <random>
#include <vector>

using namespace llmopt::rt;

namespace {
struct Layout {
  std::vector<ArenaItem> items;
  uint64_t total = 0, lowerBound = 0;
  bool fits = false;

  Layout(std::vector<ArenaItem> given, size_t steps) : items(std::move(given)) {
    ArenaWorkspace workspace;
    EXPECT_TRUE(workspace.allocate(items.size(), steps));
    fits = layoutArena(items.data(), items.size(), steps, workspace, &total, &lowerBound);
  }

  /// Nothing alive at the same step overlaps, all is aligned and inside.
  void verify() const {
    for (size_t i = 0; i < items.size(); ++i) {
      const ArenaItem &a = items[i];
      ASSERT_EQ(a.offset % arenaAlignment, 0u);
      ASSERT_LE(a.offset + a.size, total);
      for (size_t j = 0; j < i; ++j) {
        const ArenaItem &b = items[j];
        bool alive = a.first <= b.last && b.first <= a.last;
        bool overlap = a.offset < b.offset + b.size && b.offset < a.offset + a.size;
        ASSERT_FALSE(alive && overlap && a.size && b.size) << i << " " << j;
      }
    }
    ASSERT_GE(total, lowerBound);
  }
};
} // namespace

TEST(Arena, ChainTakesTwoBuffers) {
  // Each value feeds the next step only: two of them are alive at once.
  std::vector<ArenaItem> items;
  for (uint32_t i = 0; i < 10; ++i)
    items.push_back({1000, i, i + 1, 0});
  Layout layout(items, 11);
  ASSERT_TRUE(layout.fits);
  layout.verify();
  EXPECT_EQ(layout.total, 2048u);
  EXPECT_EQ(layout.lowerBound, 2048u);
}

TEST(Arena, BestGapIsTaken) {
  Layout layout({{64 * 10, 0, 9, 0},
                 {64 * 5, 0, 1, 0},
                 {64 * 4, 0, 9, 0},
                 {64 * 3, 0, 1, 0},
                 {64 * 3, 0, 9, 0},
                 {64 * 2, 2, 9, 0}},
                10);
  layout.verify();
  // Dead after step 1: a gap of 5 and one of 3. The last item takes the latter.
  EXPECT_EQ(layout.items[5].offset, layout.items[3].offset);
}

TEST(Arena, EmptyAndZeroSized) {
  Layout none({}, 0);
  EXPECT_TRUE(none.fits);
  EXPECT_EQ(none.total, 0u);
  Layout zero({{0, 0, 0, 0}, {0, 0, 0, 0}}, 1);
  EXPECT_TRUE(zero.fits);
  EXPECT_EQ(zero.total, 0u);
}

TEST(Arena, Overflow) {
  uint64_t huge = uint64_t(1) << 62;
  EXPECT_FALSE(Layout({{huge, 0, 0, 0}, {huge, 0, 0, 0}}, 1).fits);
  EXPECT_FALSE(Layout({{UINT64_MAX, 0, 0, 0}}, 1).fits);
}

TEST(Arena, RandomIntervals) {
  std::mt19937 random(11);
  double excess = 0;
  int rounds = 300;
  for (int round = 0; round < rounds; ++round) {
    size_t steps = 1 + random() % 60, count = random() % 120;
    std::vector<ArenaItem> items;
    for (size_t i = 0; i < count; ++i) {
      uint32_t first = uint32_t(random() % steps);
      uint32_t last = std::min<uint32_t>(uint32_t(steps - 1), first + random() % 6);
      items.push_back({random() % (1u << (random() % 20)), first, last, 0});
    }
    Layout layout(items, steps);
    ASSERT_TRUE(layout.fits);
    layout.verify();
    if (layout.lowerBound)
      excess += double(layout.total) / double(layout.lowerBound) - 1;
  }
  // A layout that is right but wasteful is a defect too.
  EXPECT_LT(excess / rounds, 0.10);
}
