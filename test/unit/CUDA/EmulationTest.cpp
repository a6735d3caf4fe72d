// The emulation itself: threads, barriers and votes do what CUDA says, and each of the
// mistakes it is there to find is found when planted.
#include "RunKernel.h"

#include "llmopt/cuda/grid.cuh"

#include <thread>

using namespace llmopt;
using namespace llmopt::testing;

namespace {

class Emulation : public KernelTest {};

bool contains(const std::string &text, const char *part) { return text.find(part) != std::string::npos; }
#define EXPECT_REPORTS(text, part) EXPECT_TRUE(contains(text, part)) << "\"" << (text) << "\""

// ---- launches that may start early

void add_one(const float *x, float *y, bool waits, bool late) {
  const global<const float> from(x);
  const global<float> to(y);
  if (waits && !late)
    grid_dependency_wait();
  const float value = from[threadIdx.x] + 1.0f;
  if (waits && late)
    grid_dependency_wait();
  to[threadIdx.x] = value;
}

void add_one_from_constant(const float *x, float *y) {
  const global<const float> from(x);
  const float value = from[threadIdx.x] + 1.0f;
  grid_dependency_wait();
  const global<float> to(y);
  to[threadIdx.x] = value;
}

void half_waits(const float *x, float *y) {
  if (threadIdx.x < 32)
    return;
  grid_dependency_wait();
  const global<float> to(y);
  to[threadIdx.x] = *x;
}

std::string changes; // 0 and 1, in the order they came

TEST_F(Emulation, EarlyLaunches) {
  using llmopt_emulation::early_launch;
  Buffer<float> x(numbers<float>(64)), y(64);
  changes.clear();
  early_launch = {true, [](int waited) { changes += waited ? '1' : '0'; }};
  EXPECT_EQ(run(add_one, {2}, 64, 0, x.data(), y.data(), true, false), "");
  EXPECT_EQ(changes, "0101"); // for each block
  EXPECT_REPORTS(run(add_one, {1}, 64, 0, x.data(), y.data(), true, true), "grid_dependency_wait comes later");
  EXPECT_REPORTS(run(add_one, {1}, 64, 0, x.data(), y.data(), false, false), "grid_dependency_wait comes later");
  EXPECT_REPORTS(run(half_waits, {1}, 64, 0, x.data(), y.data()), "ended without grid_dependency_wait");
  EXPECT_REPORTS(run(add_one_from_constant, {1}, 64, 0, x.data(), y.data()), "grid_dependency_wait comes later");
  llmopt_emulation::unregister_range(x.data());
  llmopt_emulation::register_range(x.data(), x.size() * sizeof(float), /*constant=*/true);
  EXPECT_EQ(run(add_one_from_constant, {1}, 64, 0, x.data(), y.data()), "");
  early_launch = {};
  EXPECT_EQ(run(add_one, {1}, 64, 0, x.data(), y.data(), false, false), "");
  EXPECT_EQ(run(half_waits, {1}, 64, 0, x.data(), y.data()), "");
}

// ---- grids, barriers, votes

void reverse(const float *x, float *y, int count) {
  LLMOPT_SHARED(float, tile, 128);
  const int i = blockIdx.x * 128 + threadIdx.x;
  tile[threadIdx.x] = i < count ? x[i] : 0.0f;
  __syncthreads();
  if (i < count)
    y[i] = tile[127 - threadIdx.x];
}

TEST_F(Emulation, GridsAndSharedMemory) {
  for (const char *seed : {"0", "1", "99"}) {
    setenv("LLMOPT_EMULATION_SEED", seed, 1);
    Buffer<float> x(numbers<float>(384)), y(384);
    ASSERT_EQ(run(reverse, {3}, 128, 0, x.data(), y.data(), 384), "");
    for (int i = 0; i < 384; ++i)
      EXPECT_EQ(y[i], x[i / 128 * 128 + 127 - i % 128]);
  }
}

void record_indices(int *out) {
  const int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * 24 + thread] = block * 24 + thread + 1;
}

TEST_F(Emulation, IndicesOfThreeDimensions) {
  Buffer<int> out(24 * 24);
  int *pointer = out.data();
  void *parameters[] = {&pointer};
  for (const char *seed : {"0", "5"}) {
    setenv("LLMOPT_EMULATION_SEED", seed, 1);
    std::fill(out.begin(), out.end(), 0);
    ASSERT_TRUE(llmopt_emulation::run_grid(record_indices, {4, 3, 2}, {2, 3, 4}, 0, parameters));
    for (size_t i = 0; i < out.size(); ++i)
      EXPECT_EQ(out[i], int(i) + 1);
  }
}

void count_and_vote(int *out) {
  const int i = threadIdx.x;
  const int count = __syncthreads_count(i % 3 == 0), any = __syncthreads_or(i == 40), all = __syncthreads_and(i < 63);
  const unsigned ballot = __ballot_sync(0xffffffffu, i & 1);
  const int warp_any = __any_sync(0xffffffffu, i == 5), warp_all = __all_sync(0xffffffffu, i < 32);
  if (i % 32 == 31) {
    int *to = out + i / 32 * 6;
    to[0] = count, to[1] = any, to[2] = all, to[3] = (int)ballot, to[4] = warp_any, to[5] = warp_all;
  }
}

TEST_F(Emulation, Votes) {
  Buffer<int> out(12);
  ASSERT_EQ(run(count_and_vote, {1}, 64, 0, out.data()), "");
  std::vector<int> expected = {22, 1, 0, int(0xaaaaaaaau), 1, 1, 22, 1, 0, int(0xaaaaaaaau), 0, 0};
  EXPECT_EQ(std::vector<int>(out.begin(), out.end()), expected);
}

void shuffle_all(int *out) {
  const int i = threadIdx.x;
  out[i] = __shfl_sync(0xffffffffu, i, 3);
  out[32 + i] = __shfl_xor_sync(0xffffffffu, i, 5);
  out[64 + i] = __shfl_down_sync(0xffffffffu, i, 2);
  out[96 + i] = __shfl_up_sync(0xffffffffu, i, 2);
  out[128 + i] = __shfl_down_sync(0xffffffffu, i, 3, 8);
  out[160 + i] = __shfl_sync(0xffffffffu, i, 9, 8);
  if (i < 16) // halves of a warp that go their own way
    out[192 + i] = __shfl_xor_sync(0x0000ffffu, i, 8);
  else
    out[192 + i] = __shfl_xor_sync(0xffff0000u, i, 1);
}

TEST_F(Emulation, Shuffles) {
  for (const char *seed : {"0", "3"}) {
    setenv("LLMOPT_EMULATION_SEED", seed, 1);
    Buffer<int> out(224);
    ASSERT_EQ(run(shuffle_all, {1}, 32, 0, out.data()), "");
    for (int i = 0; i < 32; ++i) {
      EXPECT_EQ(out[i], 3);
      EXPECT_EQ(out[32 + i], i ^ 5);
      EXPECT_EQ(out[64 + i], i + 2 < 32 ? i + 2 : i);
      EXPECT_EQ(out[96 + i], i >= 2 ? i - 2 : i);
      EXPECT_EQ(out[128 + i], i % 8 + 3 < 8 ? i + 3 : i);
      EXPECT_EQ(out[160 + i], i / 8 * 8 + 1);
      EXPECT_EQ(out[192 + i], i < 16 ? i ^ 8 : i ^ 1);
    }
  }
}

void add_atomically(float *sum, unsigned *largest, unsigned long long *wide, int *ticket) {
  LLMOPT_SHARED(int, count, 1);
  if (threadIdx.x == 0)
    count[0] = 0;
  __syncthreads();
  atomicAdd(count + 0, 1);
  atomicAdd(sum, 0.5f);
  atomicMax(largest, blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(wide, 1ull << 33);
  atomicCAS(ticket, 0, 7);
  __syncthreads();
  if (threadIdx.x == 0 && (int)count[0] != 64)
    atomicExch(ticket, -1);
}

TEST_F(Emulation, Atomics) {
  Buffer<float> sum(1);
  Buffer<unsigned> largest(1);
  Buffer<unsigned long long> wide(1);
  Buffer<int> ticket(1);
  ASSERT_EQ(run(add_atomically, {4}, 64, 0, sum.data(), largest.data(), wide.data(), ticket.data()), "");
  EXPECT_EQ(sum[0], 128.0f);
  EXPECT_EQ(largest[0], 255u);
  EXPECT_EQ(wide[0], 256ull << 33);
  EXPECT_EQ(ticket[0], 7);
}

// ---- planted mistakes

void racing(float *y) {
  LLMOPT_SHARED(float, tile, 64);
  tile[threadIdx.x] = (float)threadIdx.x;
  // A barrier is missing: the neighbour is in another warp.
  y[threadIdx.x] = tile[(threadIdx.x + 32) % 64];
}
void racing_in_a_warp(float *y) {
  LLMOPT_SHARED(float, tile, 32);
  tile[threadIdx.x] = (float)threadIdx.x;
  y[threadIdx.x] = tile[threadIdx.x ^ 1];
}
void ordered_by_warp(float *y) {
  LLMOPT_SHARED(float, tile, 32);
  tile[threadIdx.x] = (float)threadIdx.x;
  __syncwarp();
  y[threadIdx.x] = tile[threadIdx.x ^ 1];
}
void overwriting(float *y) { // read, then write without a barrier
  LLMOPT_SHARED(float, tile, 64);
  tile[threadIdx.x] = 1.0f;
  __syncthreads();
  const float other = tile[(threadIdx.x + 1) % 64];
  tile[threadIdx.x] = 2.0f;
  y[threadIdx.x] = other;
}
void writing_twice(float *) {
  LLMOPT_SHARED(float, tile, 1);
  tile[0] = (float)threadIdx.x;
}
void reading_nothing(float *y) {
  LLMOPT_SHARED(float, tile, 64);
  y[threadIdx.x] = tile[threadIdx.x];
}

TEST_F(Emulation, FindsRaces) {
  Buffer<float> y(64);
  for (const char *seed : {"0", "1", "2", "3"}) {
    setenv("LLMOPT_EMULATION_SEED", seed, 1);
    EXPECT_REPORTS(run(racing, {1}, 64, 0, y.data()), "shared memory");
    EXPECT_REPORTS(run(overwriting, {1}, 64, 0, y.data()), "race in shared memory");
    EXPECT_REPORTS(run(writing_twice, {1}, 64, 0, y.data()), "race in shared memory: write");
    EXPECT_REPORTS(run(reading_nothing, {1}, 64, 0, y.data()), "which nothing wrote");
    EXPECT_EQ(run(ordered_by_warp, {1}, 32, 0, y.data()), "");
  }
  EXPECT_EQ(y[0], 1.0f);
  unsetenv("LLMOPT_EMULATION_SEED"); // in order, thread 33 overwrites what thread 32 has read
  EXPECT_REPORTS(run(overwriting, {1}, 64, 0, y.data()), "write of byte 132, which thread 32 read");
  setenv("LLMOPT_EMULATION_SEED", "1", 1);
  EXPECT_REPORTS(run(racing_in_a_warp, {1}, 32, 0, y.data()), "shared memory");
}

void outside_shared(float *y, int i) {
  LLMOPT_SHARED(float, tile, 64);
  LLMOPT_SHARED(float, other, 64);
  tile[threadIdx.x] = other[threadIdx.x] = 0.0f;
  __syncthreads();
  y[threadIdx.x] = tile[i];
}
void outside_global(float *y, int i) {
  global<float> view(y);
  view[threadIdx.x] = 1.0f;
  if (threadIdx.x == 3)
    view[i] = 2.0f;
}
void misaligned(float *y, int i) {
  global<float> view(y);
  store(view, i, make_float4(1, 2, 3, 4));
}
void dynamic_shared(float *y, int i) {
  LLMOPT_DYNAMIC_SHARED(bytes);
  shared<float> tile = shared_cast<float>(bytes);
  tile[threadIdx.x + i] = 1.0f;
  y[threadIdx.x] = tile[threadIdx.x + i];
}

TEST_F(Emulation, FindsAccessesOutOfBounds) {
  Buffer<float> guard(64), y(64), guard2(64);
  EXPECT_EQ(run(outside_shared, {1}, 64, 0, y.data(), 0), "");
  EXPECT_REPORTS(run(outside_shared, {1}, 64, 0, y.data(), 1000), "out of bounds: read of 4 bytes");
  EXPECT_REPORTS(run(outside_shared, {1}, 64, 0, y.data(), -1), "out of bounds: read of 4 bytes");
  EXPECT_EQ(run(outside_global, {1}, 64, 0, y.data(), 63), "");
  EXPECT_REPORTS(run(outside_global, {1}, 64, 0, y.data(), 64), "byte 256 of a buffer of 256 bytes");
  EXPECT_REPORTS(run(outside_global, {1}, 64, 0, y.data(), -1), "byte -4 of a buffer of 256 bytes");
  EXPECT_REPORTS(run(misaligned, {1}, 1, 0, y.data(), 1), "misaligned");
  EXPECT_EQ(run(dynamic_shared, {1}, 64, 256, y.data(), 0), "");
  EXPECT_REPORTS(run(dynamic_shared, {1}, 64, 256, y.data(), 1), "out of bounds: write of 4 bytes");
  EXPECT_REPORTS(run(dynamic_shared, {1}, 64, 1 << 20, y.data(), 0), "dynamic shared memory, but got 1048576");
  EXPECT_REPORTS(run(dynamic_shared, {1}, 1025, 256, y.data(), 0), "a block of 1 to 1024 threads");
  for (float x : guard)
    EXPECT_EQ(x, 0.0f);
  for (float x : guard2)
    EXPECT_EQ(x, 0.0f);
}

void half_barrier(float *) {
  if (threadIdx.x < 32)
    __syncthreads();
}
void two_barriers(float *y) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads(), y[0] = 1;
  __syncwarp();
}
void half_warp(float *y) {
  if (threadIdx.x < 16)
    y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}
void mask_without_self(float *y) { y[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, 1.0f, 1); }
void different_collectives(float *y) {
  y[threadIdx.x] = threadIdx.x & 1 ? __shfl_xor_sync(0xffffffffu, 1.0f, 1) : (float)__ballot_sync(0xffffffffu, 1);
}

TEST_F(Emulation, FindsDivergentBarriers) {
  Buffer<float> y(64);
  for (const char *seed : {"0", "4"}) {
    setenv("LLMOPT_EMULATION_SEED", seed, 1);
    EXPECT_REPORTS(run(half_barrier, {1}, 64, 0, y.data()), "32 have ended, 32 wait at __syncthreads");
    EXPECT_REPORTS(run(two_barriers, {1}, 64, 0, y.data()), "divergent barrier: waits at");
    EXPECT_FALSE(run(half_warp, {1}, 32, 0, y.data()).empty());
    EXPECT_REPORTS(run(mask_without_self, {1}, 32, 0, y.data()), "lacks the calling lane");
    EXPECT_REPORTS(run(different_collectives, {1}, 32, 0, y.data()), "divergent warp");
  }
}

// ---- asynchronous copies

/// Doubles what cp.async brings, in slices of 64; `wait` groups may be under way.
template <int Wait, bool Barrier> void double_slices(const float *x, float *y, int slices) {
  LLMOPT_SHARED(float, tile, 128);
  global<const float> from(x);
  auto fetch = [&](int slice) {
    cp_async<4>(smem_address(tile + slice % 2 * 64 + threadIdx.x), from + slice * 64 + threadIdx.x,
                slice < slices - 1 ? 4 : 0);
    cp_async_commit();
  };
  fetch(0);
  for (int slice = 0; slice < slices; ++slice) {
    if (slice + 1 < slices)
      fetch(slice + 1);
    else
      cp_async_commit();
    cp_async_wait<Wait>();
    if (Barrier)
      __syncthreads();
    y[slice * 64 + threadIdx.x] = 2.0f * tile[slice % 2 * 64 + (threadIdx.x + 33) % 64];
    __syncthreads();
  }
}

TEST_F(Emulation, DeliversCopiesAtTheWait) {
  Buffer<float> x(numbers<float>(256)), y(256);
  ASSERT_EQ(run(double_slices<1, true>, {1}, 64, 0, x.data(), y.data(), 4), "");
  for (int i = 0; i < 256; ++i)
    EXPECT_EQ(y[i], i < 192 ? 2 * x[i / 64 * 64 + (i + 33) % 64] : 0.0f);
  // One group too many under way: the wait for the slice in use is missing.
  EXPECT_REPORTS(run(double_slices<2, true>, {1}, 64, 0, x.data(), y.data(), 4), "a wait is missing");
  EXPECT_REPORTS(run(double_slices<1, false>, {1}, 64, 0, x.data(), y.data(), 4), "shared memory");
}

void copy_out_of_bounds(const float *x) {
  LLMOPT_SHARED(float, tile, 128);
  cp_async<16>(smem_address(tile + 4 * threadIdx.x), global<const float>(x) + 4 * threadIdx.x, 16);
  cp_async_commit();
  cp_async_wait<0>();
}

TEST_F(Emulation, ChecksCopies) {
  Buffer<float> x(124);
  EXPECT_REPORTS(run(copy_out_of_bounds, {1}, 32, 0, x.data()), "byte 496 of a buffer of 496 bytes");
  EXPECT_REPORTS(run(copy_out_of_bounds, {1}, 64, 0, x.data()), "out of bounds");
}

/// Looks behind the race detector: before the wait the old bytes are there.
void read_early(const float *x, float *y) {
  LLMOPT_SHARED(float, tile, 32);
  tile[threadIdx.x] = -1.0f;
  cp_async<4>(smem_address(tile + threadIdx.x), global<const float>(x) + threadIdx.x, 4);
  cp_async_commit();
  float early;
  memcpy(&early, llmopt_emulation::memory().bytes + smem_address(tile + threadIdx.x), 4);
  cp_async_wait<0>();
  y[threadIdx.x] = early * tile[threadIdx.x];
}

TEST_F(Emulation, CopiesComeLate) {
  Buffer<float> x(32, 4.0f), y(32);
  ASSERT_EQ(run(read_early, {1}, 32, 0, x.data(), y.data()), "");
  for (float value : y)
    EXPECT_EQ(value, -4.0f);
}

// ---- mbarriers: a warp that produces, a warp that consumes

template <bool WaitsForRoom> void hand_over(const float *x, float *y, int rounds) {
  LLMOPT_SHARED(float, tile, 32);
  LLMOPT_SHARED(uint64_t, barriers, 2);
  const uint32_t full = smem_address(barriers), empty = smem_address(barriers + 1);
  if (threadIdx.x == 0) {
    mbarrier_init(full, 32);
    mbarrier_init(empty, 32);
  }
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (int round = 0; round < rounds; ++round) {
    if (threadIdx.x < 32) {
      if (WaitsForRoom)
        mbarrier_wait(empty, (round & 1) ^ 1);
      tile[lane] = x[round * 32 + lane];
      mbarrier_arrive(full);
    } else {
      mbarrier_wait(full, round & 1);
      y[round * 32 + lane] = tile[31 - lane];
      mbarrier_arrive(empty);
    }
  }
}

TEST_F(Emulation, Mbarriers) {
  Buffer<float> x(numbers<float>(128)), y(128);
  for (const char *seed : {"0", "1", "2"}) {
    setenv("LLMOPT_EMULATION_SEED", seed, 1);
    ASSERT_EQ(run(hand_over<true>, {1}, 64, 0, x.data(), y.data(), 4), "");
    for (int i = 0; i < 128; ++i)
      EXPECT_EQ(y[i], x[i / 32 * 32 + 31 - i % 32]);
    EXPECT_FALSE(run(hand_over<false>, {1}, 64, 0, x.data(), y.data(), 4).empty());
  }
}

TEST_F(Emulation, ThreadsOfTheHostRunBlocksOfTheirOwn) {
  std::vector<std::thread> threads;
  std::vector<std::string> errors(4);
  std::vector<std::vector<float>> results(4, std::vector<float>(128));
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      std::vector<float> x(128, float(i));
      errors[i] = run(reverse, {1}, 128, 0, x.data(), results[i].data(), 128);
    });
  for (std::thread &t : threads)
    t.join();
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(errors[i], "");
    EXPECT_EQ(results[i][77], float(i));
  }
}

TEST_F(Emulation, LaunchesOneBlockForTheRuntime) {
  Buffer<float> x(numbers<float>(256)), y(256);
  void *args[] = {x.data(), y.data()};
  int64_t dims[] = {256};
  ASSERT_TRUE(llmopt_emulation::launch(reverse, 2, 128, args, dims, 1, nullptr, 0, 0));
  EXPECT_EQ(y[0], 0.0f);
  EXPECT_EQ(y[128], x[255]);
}

} // namespace
