// Caches: what a session keeps between runs.
#include "ModelBuilder.h"

using namespace llmopt::test;

namespace {
/// dims: past, tokens, capacity. Appends the tokens of one sequence, and sums all
/// that the cache then holds.
void appendAndSum(void *const *args, const int64_t *dims, int64_t tile, void *) {
  auto *cache = static_cast<float *>(args[0]) + tile * dims[2];
  const float *input = static_cast<const float *>(args[1]) + tile * dims[1];
  float sum = 0;
  for (int64_t t = 0; t < dims[1]; ++t)
    cache[dims[0] + t] = input[t];
  for (int64_t t = 0; t < dims[0] + dims[1]; ++t)
    sum += cache[t];
  static_cast<float *>(args[2])[tile] = sum;
}

/// x f32[batch, tokens] -> sum f32[batch], over all tokens so far.
struct RunningSum : ModelBuilder {
  uint32_t batch = symbol("batch"), tokens = symbol("tokens"), past = symbol("past"), capacity = symbol("capacity");
  llmopt_cache cache{"past.key", LLMOPT_F32, mul(binary(LLMOPT_EXPR_MUL, batch, capacity), 4)};
  RunningSum() {
    uint32_t state = buffer({LLMOPT_BUFFER_CACHE, 0, cache.size, LLMOPT_NONE, 0, 0, nullptr});
    uint32_t x = input("x", LLMOPT_F32, {batch, tokens}), sum = output("sum", LLMOPT_F32, {batch});
    step("append", appendAndSum, {state, x, sum}, {past, tokens, capacity}, batch);
  }
  llmopt_model_desc build() {
    llmopt_model_desc d = ModelBuilder::build();
    d.num_caches = 1;
    d.caches = &cache;
    d.past_symbol = 2;
    d.capacity_symbol = 3;
    d.new_tokens = tokens;
    d.max_tokens = 6;
    return d;
  }
};

/// Binds and runs `x` of [batch, tokens]: "" and the sums, or the message.
std::string feed(Running &r, int64_t batch, std::vector<float> x, std::vector<float> &sums) {
  std::string problem = r.bind({type(LLMOPT_F32, {batch, int64_t(x.size()) / batch})});
  if (!problem.empty())
    return problem;
  sums.assign(size_t(batch), -1);
  return r.run({{x.data(), 4 * x.size()}}, {{sums.data(), 4 * sums.size()}});
}

std::string truncate(Running &r, uint64_t tokens) {
  llmopt_error error;
  return llmopt_session_truncate(r.session, tokens, &error) ? error.message : "";
}
} // namespace

TEST(Cache, RunsSeeThePast) {
  RunningSum model;
  Running r(model.build());
  std::vector<float> sums;
  ASSERT_EQ(feed(r, 2, {1, 2, 10, 20}, sums), "");
  EXPECT_EQ(sums, (std::vector<float>{3, 30}));
  ASSERT_EQ(feed(r, 2, {4, 40}, sums), "");
  EXPECT_EQ(sums, (std::vector<float>{7, 70}));
  EXPECT_EQ(r.info().cache_tokens, 3u);
  EXPECT_EQ(r.info().cache_capacity, 6u);
  // Back to two tokens, and on from there.
  ASSERT_EQ(truncate(r, 2), "");
  ASSERT_EQ(feed(r, 2, {5, 50}, sums), "");
  EXPECT_EQ(sums, (std::vector<float>{8, 80}));
}

TEST(Cache, AFullOneSaysSo) {
  RunningSum model;
  Running r(model.build());
  std::vector<float> sums;
  ASSERT_EQ(feed(r, 1, {1, 1, 1, 1, 1}, sums), "");
  EXPECT_EQ(feed(r, 1, {1, 1}, sums), "the cache holds 5 tokens and has room for 1 more, but got 2; a session may be "
                                      "created with a larger cache_capacity");
  EXPECT_EQ(r.status, LLMOPT_SHAPE_MISMATCH);
  // Nothing was lost.
  ASSERT_EQ(feed(r, 1, {1}, sums), "");
  EXPECT_EQ(sums[0], 6);
}

TEST(Cache, TheBatchStays) {
  RunningSum model;
  Running r(model.build());
  std::vector<float> sums;
  ASSERT_EQ(feed(r, 1, {1, 2}, sums), "");
  EXPECT_EQ(feed(r, 2, {1, 2}, sums),
            "expected the batch size of the tokens in the cache; truncate it to 0 tokens first");
  ASSERT_EQ(truncate(r, 0), "");
  ASSERT_EQ(feed(r, 2, {1, 2}, sums), "");
  EXPECT_EQ(sums, (std::vector<float>{1, 2}));
  EXPECT_EQ(truncate(r, 2), "expected at most the 1 tokens that the cache holds, but got 2");
}

TEST(Cache, EveryRunIsBound) {
  RunningSum model;
  Running r(model.build());
  std::vector<float> sums, x{1, 2};
  ASSERT_EQ(feed(r, 1, x, sums), "");
  EXPECT_EQ(r.run({{x.data(), 8}}, {{sums.data(), 4}}),
            "expected bind before run: the number of tokens in the cache has changed");
}

TEST(Cache, DamagedTables) {
  auto create = [](const llmopt_model_desc &desc) -> std::string {
    llmopt_model *model = nullptr;
    llmopt_error error;
    if (!llmopt_model_create(&desc, nullptr, &model, &error))
      return llmopt_model_destroy(model), "";
    return error.message;
  };
  RunningSum model;
  ASSERT_EQ(create(model.build()), "");
  llmopt_model_desc desc = model.build();
  desc.past_symbol = 9;
  EXPECT_NE(create(desc), "");
  desc = model.build();
  desc.num_caches = 0; // the buffer names a cache that is not there
  EXPECT_NE(create(desc).find("names no cache"), std::string::npos);
  desc = model.build();
  desc.new_tokens = 1000;
  EXPECT_NE(create(desc).find("caches"), std::string::npos);
}
