#include "pool.h"

#include <atomic>
#include <gtest/gtest.h>
#include <memory>
#include <random>
#include <thread>
#include <vector>

using namespace llmopt::rt;

namespace {
/// args[0]: one counter per tile; dims[0]: how much to work.
void countTile(void *const *args, const int64_t *dims, int64_t tile, void *) {
  for (volatile int64_t i = 0; i < dims[0];)
    i = i + 1;
  static_cast<std::atomic<int> *>(args[0])[tile].fetch_add(1, std::memory_order_relaxed);
}

/// Runs random steps and checks that each tile ran exactly once.
void stress(uint32_t threads, int rounds, unsigned seed) {
  Pool pool;
  llmopt_error error;
  ASSERT_EQ(pool.start(threads, &error), LLMOPT_OK) << error.message;
  ASSERT_EQ(pool.threads(), threads);
  constexpr uint32_t most = 70;
  std::vector<std::atomic<int>> counters(most);
  void *args[] = {counters.data()};
  std::vector<char> scratch(threads * 64);
  std::mt19937 random(seed);
  for (int round = 0; round < rounds; ++round) {
    int64_t dims[] = {random() % 10 == 0 ? 3000 : int64_t(random() % 50)};
    uint32_t tiles = random() % 3 ? random() % 4 : random() % most;
    PreparedStep step = {countTile, args, dims, tiles};
    pool.run(step, scratch.data(), 64);
    for (uint32_t t = 0; t < most; ++t)
      ASSERT_EQ(counters[t].exchange(0, std::memory_order_relaxed), t < tiles)
          << "tile " << t << " of " << tiles << " in round " << round;
  }
}
} // namespace

TEST(Pool, EveryTileRunsOnce) {
  for (uint32_t threads : {1u, 2u, 3u, 7u})
    stress(threads, threads > 2 ? 3000 : 30000, threads);
}

TEST(Pool, ManyPoolsOnFewCpusStayLive) {
  // Four pools of two threads, all busy at once.
  std::vector<std::thread> hosts;
  for (unsigned i = 0; i < 4; ++i)
    hosts.emplace_back([i] { stress(2, 4000, 100 + i); });
  for (std::thread &host : hosts)
    host.join();
}

TEST(Pool, ParkedWorkersWakeUp) {
  Pool pool;
  ASSERT_EQ(pool.start(2, nullptr), LLMOPT_OK);
  // The two tiles wait for each other: they end only if both threads come.
  static std::atomic<int> met;
  auto meet = [](void *const *, const int64_t *, int64_t, void *) {
    met.fetch_add(1);
    while (met.load() < 2)
      std::this_thread::yield();
  };
  char scratch[128];
  PreparedStep step = {meet, nullptr, nullptr, 2};
  for (int pauseUs : {0, 10, 30, 50, 100, 1000, 5000})
    for (int i = 0; i < 20; ++i) {
      // Long enough at the upper end for the worker to go to sleep.
      std::this_thread::sleep_for(std::chrono::microseconds(pauseUs));
      met = 0;
      pool.run(step, scratch, 64);
      EXPECT_EQ(met.load(), 2);
    }
}

TEST(Pool, IdleWorkersUseNoCpu) {
  Pool pool;
  ASSERT_EQ(pool.start(3, nullptr), LLMOPT_OK);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  auto cpuNs = [] {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
  };
  long long before = cpuNs();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(cpuNs() - before, 5000000);
}

TEST(Pool, CreationIsCheap) {
  auto before = std::chrono::steady_clock::now();
  for (int i = 0; i < 50; ++i) {
    Pool pool;
    ASSERT_EQ(pool.start(4, nullptr), LLMOPT_OK);
  }
  auto spent = std::chrono::steady_clock::now() - before;
  EXPECT_LT(std::chrono::duration<double>(spent).count() / 50, 0.02);
}

TEST(Pool, AvailableCpusFollowTheAffinity) {
  cpu_set_t all, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
  EXPECT_EQ(availableCpus(), uint32_t(CPU_COUNT(&all)));
  int first = 0;
  while (!CPU_ISSET(first, &all))
    ++first;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(availableCpus(), 1u);
  // Two threads on one CPU must still get through, and soon.
  stress(2, 2000, 5);
  ASSERT_EQ(sched_setaffinity(0, sizeof(all), &all), 0);
}
