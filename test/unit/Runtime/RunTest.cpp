#include "ModelBuilder.h"

#include <atomic>
#include <cfenv>
#include <cmath>
#include <cstring>
#include <thread>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

using namespace llmopt::test;

namespace {
/// dst[tile * n + i] = src[tile * n + i] + 1, n = dims[0]
void addOne(void *const *args, const int64_t *dims, int64_t tile, void *) {
  const float *src = static_cast<const float *>(args[0]) + tile * dims[0];
  float *dst = static_cast<float *>(args[1]) + tile * dims[0];
  for (int64_t i = 0; i < dims[0]; ++i)
    dst[i] = src[i] + 1;
}

/// A chain of `length` additions over f32[rows, 16], one tile per row.
struct Chain : ModelBuilder {
  explicit Chain(uint32_t length) {
    uint32_t rows = symbol("rows"), width = constant(16);
    uint32_t bytes = mul(rows, 64);
    uint32_t value = input("x", LLMOPT_F32, {rows, width});
    uint32_t y = output("y", LLMOPT_F32, {rows, width});
    for (uint32_t s = 0; s < length; ++s) {
      uint32_t next = s + 1 == length ? y : arena(bytes, s, s + 1);
      step("add", addOne, {value, next}, {width}, rows);
      value = next;
    }
  }
};

std::vector<float> ramp(size_t n) {
  std::vector<float> v(n);
  for (size_t i = 0; i < n; ++i)
    v[i] = float(i);
  return v;
}
} // namespace

TEST(Run, ChainForAnyThreadCount) {
  Chain chain(13);
  llmopt_model_desc desc = chain.build();
  for (uint32_t threads : {1u, 2u, 3u, 8u}) {
    Running r(desc, threads);
    EXPECT_EQ(r.info().num_threads, threads);
    for (int64_t rows : {1, 2, 37, 5}) {
      ASSERT_EQ(r.bind({type(LLMOPT_F32, {rows, 16})}), "");
      std::vector<float> x = ramp(size_t(rows) * 16), y(x.size());
      for (int repeat = 0; repeat < 50; ++repeat) {
        std::fill(y.begin(), y.end(), 0.f);
        ASSERT_EQ(r.run({in(x)}, {out(y)}), "");
        for (size_t i = 0; i < x.size(); ++i)
          ASSERT_EQ(y[i], x[i] + 13) << threads << " threads, element " << i;
      }
    }
  }
}

TEST(Run, PoisonFindsValuesThatAreReadTooLate) {
  for (bool planned : {true, false}) {
    Chain chain(3);
    if (!planned) // the second step reads what was given up behind the first
      for (llmopt_buffer &buffer : chain.buffers)
        if (buffer.kind == LLMOPT_BUFFER_ARENA && buffer.first_step == 0)
          buffer.last_step = 0;
    llmopt_model_desc desc = chain.build();
    Running r(desc, 2);
    llmopt_session_options options = {};
    options.struct_size = sizeof(options);
    options.poison = 1;
    llmopt_session *poisoned = nullptr;
    ASSERT_EQ(llmopt_session_create(r.model, &options, &poisoned, nullptr), LLMOPT_OK);
    llmopt_tensor_type shape = type(LLMOPT_F32, {5, 16});
    ASSERT_EQ(llmopt_session_bind(poisoned, &shape, 1, nullptr), LLMOPT_OK);
    std::vector<float> x = ramp(80), y(80);
    llmopt_input given = in(x);
    llmopt_output taken = out(y);
    ASSERT_EQ(llmopt_session_run(poisoned, &given, 1, &taken, 1, nullptr), LLMOPT_OK);
    if (planned)
      EXPECT_EQ(y[7], x[7] + 3);
    else
      EXPECT_TRUE(std::isnan(y[7]));
    llmopt_session_destroy(poisoned);
  }
}

TEST(Run, ArgumentsAreChecked) {
  Chain chain(2);
  Running r(chain.build());
  std::vector<float> x(32), y(32), small(31);
  EXPECT_EQ(r.run({in(x)}, {out(y)}), "expected bind before run");
  EXPECT_EQ(r.status, LLMOPT_NOT_BOUND);
  ASSERT_EQ(r.bind({type(LLMOPT_F32, {2, 16})}), "");
  EXPECT_EQ(r.run({in(small)}, {out(y)}), "input 'x': expected 128 bytes, but got 124");
  EXPECT_EQ(r.run({in(x)}, {out(small)}), "output 'y': expected 128 bytes, but got 124");
  EXPECT_EQ(r.run({{nullptr, 128}}, {out(y)}), "input 'x': data is NULL");
  EXPECT_EQ(r.run({{reinterpret_cast<char *>(x.data()) + 2, 128}}, {out(y)}),
            "input 'x': expected data at a multiple of 4 bytes");
  EXPECT_EQ(r.run({in(x), in(x)}, {out(y)}), "expected 1 inputs and 1 outputs, but got 2 and 1");
  EXPECT_EQ(r.run({in(x)}, {out(y)}), "");
}

namespace {
const float constantData[4] = {10, 20, 30, 40};

/// One of everything that is not plain: views of inputs, outputs, weights,
/// constants and views, an absent operand, and outputs that are copies.
struct Views : ModelBuilder {
  static void kernel(void *const *args, const int64_t *, int64_t, void *) {
    // args: tail of x, second constant, absent, weight view, nested view of y
    EXPECT_EQ(args[2], nullptr);
    const float *x = static_cast<float *>(args[0]);
    const float *c = static_cast<float *>(args[1]);
    const float *w = static_cast<float *>(args[3]);
    float *y = static_cast<float *>(args[4]);
    y[0] = x[0] + c[0] + w[0];
  }
  Views() {
    uint32_t n = symbol("n"), four = constant(4);
    uint32_t x = input("x", LLMOPT_F32, {n});
    uint32_t y = output("y", LLMOPT_F32, {four});
    // The last element of x: its offset depends on the shape.
    uint32_t last = mul(binary(LLMOPT_EXPR_ADD, n, constant(-1)), 4);
    uint32_t tail = view(x, last, four);
    uint32_t c = constantData_();
    uint32_t second = view(c, four, four);
    uint32_t w = weight(constant(64), constant(16));
    uint32_t third = view(w, constant(8), four);
    uint32_t outer = view(y, constant(4), constant(12));
    uint32_t inner = view(outer, constant(4), constant(4));
    step("mix", kernel, {tail, second, LLMOPT_NONE, third, inner}, {}, constant(1));
    weightsSize = 128;
    outputOf("x again", LLMOPT_F32, {n}, x);
    outputOf("constant", LLMOPT_F32, {four}, c);
    outputOf("y tail", LLMOPT_F32, {constant(2)}, view(y, constant(8), constant(8)));
    outputOf("weight", LLMOPT_F32, {four}, w);
  }
  uint32_t constantData_() { return constantData(::constantData, constant(16)); }
};
} // namespace

TEST(Run, ViewsAndCopies) {
  Views views;
  alignas(64) float weights[32];
  for (int i = 0; i < 32; ++i)
    weights[i] = float(100 * i);
  llmopt_create_options options = {};
  options.struct_size = sizeof(options);
  options.weights_data = weights;
  options.weights_size = sizeof(weights);
  Running r(views.build(), 1, &options);
  for (int64_t n : {1, 5, 9}) {
    ASSERT_EQ(r.bind({type(LLMOPT_F32, {n})}), "");
    std::vector<float> x = ramp(size_t(n)), y(4, -1), again(size_t(n), -1), c(4), tail(2), w(4);
    ASSERT_EQ(r.run({in(x)}, {out(y), out(again), out(c), out(tail), out(w)}), "");
    EXPECT_EQ(y[2], float(n - 1) + 20 + 1800);
    EXPECT_EQ(y[0], -1);
    EXPECT_EQ(again, x);
    EXPECT_EQ(c, std::vector<float>({10, 20, 30, 40}));
    EXPECT_EQ(tail, std::vector<float>({y[2], -1}));
    EXPECT_EQ(w, std::vector<float>({1600, 1700, 1800, 1900}));
  }
}

TEST(Run, ViewsBeyondTheirBaseAreRefused) {
  Views views;
  alignas(64) float weights[32] = {};
  llmopt_create_options options = {};
  options.struct_size = sizeof(options);
  options.weights_data = weights;
  options.weights_size = sizeof(weights);
  Running r(views.build(), 1, &options);
  // n = 0 puts the view of the last element before the start.
  EXPECT_NE(r.bind({type(LLMOPT_F32, {0})}), "");
}

namespace {
std::atomic<unsigned> controlWords[64];
#if defined(__x86_64__)
void readControl(void *const *args, const int64_t *, int64_t tile, void *) {
  controlWords[tile] = _mm_getcsr() & ~0x3Fu;
  // Leaves sticky flags behind: the division is inexact.
  volatile float a = 1, b = 3;
  static_cast<float *>(args[0])[tile] = a / b;
}
#endif
} // namespace

#if defined(__x86_64__)
TEST(Run, FloatingPointStateIsSetAndRestored) {
  ModelBuilder b;
  uint32_t y = b.output("y", LLMOPT_F32, {b.constant(64)});
  b.step("read", readControl, {y}, {}, b.constant(64));
  for (uint32_t threads : {1u, 4u}) {
    Running r(b.build(), threads);
    ASSERT_EQ(r.bind({}), "");
    std::vector<float> out_(64);
    unsigned former = _mm_getcsr();
    // Flush to zero, denormals are zero, round towards zero.
    unsigned host = 0x1F80 | 0x8040 | 0x6000;
    _mm_setcsr(host);
    std::string message = r.run({}, {out(out_)});
    unsigned after = _mm_getcsr();
    _mm_setcsr(former);
    EXPECT_EQ(message, "");
    EXPECT_EQ(after, host);
    for (auto &word : controlWords)
      EXPECT_EQ(word.load(), 0x1F80u);
  }
}
#endif

namespace {
std::atomic<uintptr_t> scratchSeen[64];
void useScratch(void *const *, const int64_t *dims, int64_t tile, void *scratch) {
  memset(scratch, int(tile), size_t(dims[0]));
  scratchSeen[tile] = reinterpret_cast<uintptr_t>(scratch);
}
} // namespace

TEST(Run, ScratchIsPrivateAndAligned) {
  ModelBuilder b;
  uint32_t n = b.symbol("n");
  b.input("x", LLMOPT_I8, {n});
  b.scratch = n;
  b.step("use", useScratch, {}, {n}, b.constant(64));
  Running r(b.build(), 2);
  for (int64_t size : {1, 1000, 100000}) {
    std::vector<int8_t> x(static_cast<size_t>(size));
    ASSERT_EQ(r.bind({type(LLMOPT_I8, {size})}), "");
    ASSERT_EQ(r.run({in(x)}, {}), "");
    std::vector<uintptr_t> places;
    for (auto &seen : scratchSeen) {
      EXPECT_EQ(seen % 64, 0u);
      if (std::find(places.begin(), places.end(), seen) == places.end())
        places.push_back(seen);
    }
    ASSERT_LE(places.size(), 2u);
    if (places.size() == 2) {
      EXPECT_GE(std::max(places[0], places[1]) - std::min(places[0], places[1]), uintptr_t(size));
    }
  }
}

TEST(Run, Profile) {
  Chain chain(3);
  Running r(chain.build(), 2, nullptr, /*profile=*/true);
  ASSERT_EQ(r.bind({type(LLMOPT_F32, {8, 16})}), "");
  std::vector<float> x(128), y(128);
  for (int i = 0; i < 5; ++i)
    ASSERT_EQ(r.run({in(x)}, {out(y)}), "");
  llmopt_step_profile p = {};
  p.struct_size = sizeof(p);
  ASSERT_EQ(llmopt_session_get_profile(r.session, 2, &p, nullptr), LLMOPT_OK);
  EXPECT_STREQ(p.name, "add");
  EXPECT_EQ(p.runs, 5u);
  EXPECT_GT(p.total_ns, 0u);
  EXPECT_EQ(p.tiles, 8);
  EXPECT_EQ(llmopt_session_get_profile(r.session, 3, &p, nullptr), LLMOPT_INVALID_ARGUMENT);
  llmopt_session_reset_profile(r.session);
  ASSERT_EQ(llmopt_session_get_profile(r.session, 2, &p, nullptr), LLMOPT_OK);
  EXPECT_EQ(p.runs, 0u);
}

namespace {
std::atomic<int> holdTile{0};
void waitForRelease(void *const *, const int64_t *, int64_t, void *) {
  holdTile = 1;
  while (holdTile != 2)
    std::this_thread::yield();
}
} // namespace

TEST(Run, ASecondThreadIsToldThatTheSessionIsBusy) {
  ModelBuilder b;
  b.step("wait", waitForRelease, {}, {}, b.constant(1));
  Running r(b.build());
  ASSERT_EQ(r.bind({}), "");
  std::thread first([&] { r.run({}, {}); });
  while (holdTile != 1)
    std::this_thread::yield();
  EXPECT_EQ(llmopt_session_run(r.session, nullptr, 0, nullptr, 0, nullptr), LLMOPT_BUSY);
  EXPECT_EQ(llmopt_session_bind(r.session, nullptr, 0, nullptr), LLMOPT_BUSY);
  holdTile = 2;
  first.join();
  EXPECT_EQ(r.status, LLMOPT_OK);
}

TEST(Run, SessionOutlivesItsModel) {
  Chain chain(2);
  llmopt_model_desc desc = chain.build();
  llmopt_model *model = nullptr;
  llmopt_session *session = nullptr;
  ASSERT_EQ(llmopt_model_create(&desc, nullptr, &model, nullptr), LLMOPT_OK);
  ASSERT_EQ(llmopt_session_create(model, nullptr, &session, nullptr), LLMOPT_OK);
  llmopt_model_destroy(model);
  llmopt_tensor_type t = type(LLMOPT_F32, {1, 16});
  EXPECT_EQ(llmopt_session_bind(session, &t, 1, nullptr), LLMOPT_OK);
  llmopt_session_destroy(session);
  llmopt_session_destroy(nullptr);
  llmopt_model_destroy(nullptr);
}

TEST(Run, SessionOptionsAreChecked) {
  Chain chain(1);
  Running r(chain.build());
  llmopt_session *session = nullptr;
  llmopt_error error;
  llmopt_session_options options = {};
  EXPECT_EQ(llmopt_session_create(r.model, &options, &session, &error), LLMOPT_INVALID_ARGUMENT);
  options.struct_size = sizeof(options);
  options.num_threads = 100000;
  EXPECT_EQ(llmopt_session_create(r.model, &options, &session, &error), LLMOPT_INVALID_ARGUMENT);
  EXPECT_EQ(session, nullptr);
  // A struct of a later version: fine while what it adds is zero.
  struct {
    llmopt_session_options known;
    uint64_t later;
  } longer = {{sizeof(longer), 1, 0}, 0};
  EXPECT_EQ(llmopt_session_create(r.model, &longer.known, &session, &error), LLMOPT_OK);
  llmopt_session_destroy(session);
  longer.later = 1;
  EXPECT_EQ(llmopt_session_create(r.model, &longer.known, &session, &error), LLMOPT_INVALID_ARGUMENT);
}
