#include "ModelBuilder.h"

#include <cstdint>

using namespace llmopt::test;

namespace {
void nothing(void *const *, const int64_t *, int64_t, void *) {}

/// ids i64[batch, sequence], mask i64[batch, sequence + 1], weightless.
struct Encoder : ModelBuilder {
  uint32_t batch = symbol("batch"), sequence = symbol("sequence");
  Encoder() {
    uint32_t longer = binary(LLMOPT_EXPR_ADD, sequence, constant(1));
    uint32_t ids = input("ids", LLMOPT_I64, {batch, sequence});
    input("mask", LLMOPT_I64, {batch, longer});
    input("table", LLMOPT_F32, {constant(4)});
    uint32_t hidden = arena(mul(binary(LLMOPT_EXPR_MUL, batch, sequence), 16), 0, 1);
    uint32_t logits = output("logits", LLMOPT_F32, {batch, constant(2)});
    step("embed", nothing, {ids, hidden}, {batch, sequence}, batch);
    step("head", nothing, {hidden, logits}, {batch}, constant(1));
    constraint(sequence, LLMOPT_AT_MOST, constant(512), "node 'Gather_3'");
  }
};

std::vector<llmopt_tensor_type> shapes(int64_t b, int64_t s) {
  return {type(LLMOPT_I64, {b, s}), type(LLMOPT_I64, {b, s + 1}), type(LLMOPT_F32, {4})};
}
} // namespace

TEST(Bind, OutputTypesFollow) {
  Encoder e;
  Running r(e.build());
  llmopt_tensor_type t;
  EXPECT_EQ(llmopt_session_get_output_type(r.session, 0, &t, nullptr), LLMOPT_NOT_BOUND);
  ASSERT_EQ(r.bind(shapes(3, 7)), "");
  ASSERT_EQ(llmopt_session_get_output_type(r.session, 0, &t, nullptr), LLMOPT_OK);
  EXPECT_EQ(t.rank, 2u);
  EXPECT_EQ(t.dims[0], 3);
  EXPECT_EQ(t.dims[1], 2);
  EXPECT_EQ(r.info().arena_size, 384u); // 3 * 7 * 16 = 336, padded to 64
}

TEST(Bind, ErrorsNameWhatIsWrong) {
  Encoder e;
  Running r(e.build());
  auto bad = shapes(3, 7);
  bad[1].dims[0] = 4;
  EXPECT_EQ(r.bind(bad), "input 'mask', dimension 0: expected 3 (batch, as in "
                         "input 'ids'), but got 4");
  EXPECT_EQ(r.status, LLMOPT_SHAPE_MISMATCH);
  bad = shapes(3, 7);
  bad[1].dims[1] = 7;
  EXPECT_EQ(r.bind(bad), "input 'mask', dimension 1: expected 8 (sequence + 1),"
                         " but got 7");
  bad = shapes(3, 7);
  bad[2].dims[0] = 5;
  EXPECT_EQ(r.bind(bad), "input 'table', dimension 0: expected 4, but got 5");
  bad = shapes(3, 7);
  bad[0] = type(LLMOPT_I32, {3, 7});
  EXPECT_EQ(r.bind(bad), "input 'ids': expected i64[batch, sequence], but got "
                         "i32[3, 7]");
  bad = shapes(3, 7);
  bad[0] = type(LLMOPT_I64, {3});
  EXPECT_EQ(r.bind(bad), "input 'ids': expected i64[batch, sequence], but got "
                         "i64[3]");
  bad = shapes(-3, 7);
  EXPECT_EQ(r.bind(bad), "input 'ids', dimension 0: expected a size, but got -3");
  EXPECT_EQ(r.bind(shapes(1, 513)), "node 'Gather_3': expected sequence <= 512, but got 513 and 512");
  EXPECT_EQ(r.bind({type(LLMOPT_I64, {3, 7})}), "expected 3 inputs, but got 1");
  EXPECT_EQ(r.status, LLMOPT_INVALID_ARGUMENT);
}

TEST(Bind, RanksBeyondTheLimitAreRefused) {
  Encoder e;
  Running r(e.build());
  auto bad = shapes(3, 7);
  bad[0].rank = 4000000000u;
  EXPECT_NE(r.bind(bad), "");
  EXPECT_EQ(r.status, LLMOPT_SHAPE_MISMATCH);
}

TEST(Bind, FailureKeepsTheFormerBinding) {
  Encoder e;
  Running r(e.build());
  ASSERT_EQ(r.bind(shapes(3, 7)), "");
  auto bad = shapes(2, 9);
  bad[2].dims[0] = 5;
  EXPECT_NE(r.bind(bad), "");
  llmopt_tensor_type t;
  ASSERT_EQ(llmopt_session_get_output_type(r.session, 0, &t, nullptr), LLMOPT_OK);
  EXPECT_EQ(t.dims[0], 3);
}

TEST(Bind, EmptyBatch) {
  Encoder e;
  Running r(e.build());
  ASSERT_EQ(r.bind(shapes(0, 7)), "");
  std::vector<int64_t> none;
  std::vector<float> table(4), logits;
  EXPECT_EQ(r.run({{nullptr, 0}, {nullptr, 0}, in(table)}, {{nullptr, 0}}), "");
}

TEST(Bind, ImpossibleSizesAreErrorsNotCrashes) {
  Encoder e;
  e.constraints.clear();
  Running r(e.build());
  int64_t huge = int64_t(1) << 61;
  EXPECT_NE(r.bind(shapes(huge, 7)), "");
  EXPECT_EQ(r.status, LLMOPT_SHAPE_MISMATCH);
  EXPECT_NE(r.bind(shapes(INT64_MAX, INT64_MAX - 1)), "");
  // Fits 64 bits, but no machine: 2^57 bytes of arena.
  EXPECT_NE(r.bind(shapes(1 << 20, int64_t(1) << 33)), "");
  EXPECT_EQ(r.status, LLMOPT_OUT_OF_MEMORY);
  EXPECT_EQ(r.bind(shapes(2, 2)), "");
}

TEST(Bind, MemoryGrowsAndStays) {
  Encoder e;
  Running r(e.build());
  ASSERT_EQ(r.bind(shapes(1, 8)), "");
  uint64_t small = r.info().arena_capacity;
  ASSERT_EQ(r.bind(shapes(64, 512)), "");
  uint64_t large = r.info().arena_capacity;
  EXPECT_GE(large, 64u * 512 * 16);
  EXPECT_GT(large, small);
  ASSERT_EQ(r.bind(shapes(1, 8)), "");
  EXPECT_EQ(r.info().arena_capacity, large);
  EXPECT_EQ(r.info().arena_size, 128u);
}

TEST(Bind, UncheckedDtype) {
  Encoder e;
  Running r(e.build());
  auto untyped = shapes(3, 7);
  for (auto &t : untyped)
    t.dtype = 0;
  EXPECT_EQ(r.bind(untyped), "");
  EXPECT_EQ(r.bind(shapes(3, 7)), "");
}

TEST(Bind, EvaluateInput) {
  Encoder e;
  Running r(e.build());
  int64_t values[] = {5, 9};
  llmopt_tensor_type t;
  llmopt_error error;
  ASSERT_EQ(llmopt_model_evaluate_input(r.model, values, 2, 1, &t, &error), LLMOPT_OK);
  EXPECT_EQ(t.dims[0], 5);
  EXPECT_EQ(t.dims[1], 10);
  EXPECT_EQ(llmopt_model_evaluate_input(r.model, values, 1, 1, &t, &error), LLMOPT_INVALID_ARGUMENT);
  values[1] = INT64_MAX;
  EXPECT_EQ(llmopt_model_evaluate_input(r.model, values, 2, 1, &t, &error), LLMOPT_SHAPE_MISMATCH);
}

TEST(Bind, IdsLieInTheirTable) {
  struct Lookup : ModelBuilder {
    llmopt_index_check check{0, 0, "node 'Gather'"};
    Lookup() {
      uint32_t n = symbol("n"), ids = input("ids", LLMOPT_I64, {n});
      uint32_t out = output("y", LLMOPT_I64, {n});
      step("gather", nothing, {ids, out}, {n}, constant(1));
      check.rows = constant(5);
    }
    llmopt_model_desc build() {
      llmopt_model_desc d = ModelBuilder::build();
      d.num_index_checks = 1;
      d.index_checks = &check;
      return d;
    }
  };
  Lookup model;
  Running r(model.build());
  ASSERT_EQ(r.bind({type(LLMOPT_I64, {3})}), "");
  int64_t ids[3] = {-5, 0, 4}, out[3];
  EXPECT_EQ(r.run({{ids, sizeof(ids)}}, {{out, sizeof(out)}}), "");
  ids[2] = 5;
  EXPECT_EQ(r.run({{ids, sizeof(ids)}}, {{out, sizeof(out)}}),
            "input 'ids', element 2: expected an index in [-5, 5), but got 5 (node 'Gather')");
  EXPECT_EQ(r.status, LLMOPT_BAD_VALUE);
  ids[2] = -6;
  EXPECT_NE(r.run({{ids, sizeof(ids)}}, {{out, sizeof(out)}}), "");
}
