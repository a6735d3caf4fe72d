// Steps that the runtime carries out itself: loops, branches, copies, checks.
#include "ModelBuilder.h"

#include <functional>

using namespace llmopt::test;

namespace {
constexpr int64_t kWidth = 4, kMost = 8;

/// args: state, next
void increment(void *const *args, const int64_t *dims, int64_t, void *) {
  auto *from = static_cast<const float *>(args[0]);
  auto *to = static_cast<float *>(args[1]);
  for (int64_t i = 0; i < dims[0]; ++i)
    to[i] = from[i] + 1;
}

/// args: x, limit, y: whether x[0] is below the limit
void below(void *const *args, const int64_t *, int64_t, void *) {
  *static_cast<uint8_t *>(args[2]) = *static_cast<const float *>(args[0]) < *static_cast<const float *>(args[1]);
}

struct ControlModel : ModelBuilder {
  void control(llmopt_control what, const std::vector<uint32_t> &args, const std::vector<uint32_t> &dims = {},
               uint32_t target = LLMOPT_NONE) {
    step("control", nullptr, args, dims, target);
    steps.back().control = what;
  }
};

/// y = x + 1 + 1 ..., `trips` times or until y[0] is not below `limit`; rows[i]
/// is y after iteration i, or in reverse.
struct Counting : ControlModel {
  explicit Counting(bool reverse = false) {
    uint32_t width = constant(kWidth), bytes = constant(4 * kWidth), one = constant(1), eight = constant(8);
    uint32_t x = input("x", LLMOPT_F32, {width}), trips = input("trips", LLMOPT_I64, {}),
             limit = input("limit", LLMOPT_F32, {});
    uint32_t y = output("y", LLMOPT_F32, {width}), rows = output("rows", LLMOPT_F32, {constant(kMost), width});
    uint32_t counter = arena(eight, 0, 9), next = arena(bytes, 0, 9), goOn = arena(one, 0, 9);
    control(LLMOPT_CONTROL_RESET, {counter});
    control(LLMOPT_CONTROL_COPY, {y, x}, {bytes});
    step("below", below, {y, limit, goOn}, {}, one);
    control(LLMOPT_CONTROL_LOOP, {counter, trips, goOn}, {}, 9);
    step("increment", increment, {y, next}, {width}, one);
    control(LLMOPT_CONTROL_COPY, {rows, next, counter},
            {bytes, constant(reverse ? kMost - 1 : 0), constant(reverse ? -1 : 1)});
    control(LLMOPT_CONTROL_COPY, {y, next}, {bytes});
    step("below", below, {y, limit, goOn}, {}, one);
    control(LLMOPT_CONTROL_NEXT, {counter}, {}, 3);
    control(LLMOPT_CONTROL_SHAPE, {counter}, {constant(0), width}, 1);
  }
};

struct Result {
  std::vector<float> y = std::vector<float>(kWidth), rows = std::vector<float>(kMost * kWidth, -1.f);
  llmopt_tensor_type type;
};

Result runCounting(Running &r, int64_t trips, float limit) {
  EXPECT_EQ(r.bind({type(LLMOPT_F32, {kWidth}), type(LLMOPT_I64, {}), type(LLMOPT_F32, {})}), "");
  Result result;
  EXPECT_EQ(llmopt_session_get_output_type(r.session, 1, &result.type, nullptr), LLMOPT_OK);
  EXPECT_EQ(result.type.dims[0], kMost); // room for the most
  std::vector<float> x{0, 10, 20, 30}, limits{limit};
  std::vector<int64_t> n{trips};
  EXPECT_EQ(r.run({in(x), in(n), in(limits)}, {out(result.y), out(result.rows)}), "");
  EXPECT_EQ(llmopt_session_get_output_type(r.session, 1, &result.type, nullptr), LLMOPT_OK);
  return result;
}
} // namespace

TEST(Control, LoopCountsStopsAndStatesItsShape) {
  Counting model;
  llmopt_model_desc desc = model.build();
  for (uint32_t threads : {1u, 3u}) {
    Running r(desc, threads);
    struct {
      int64_t trips;
      float limit;
      int64_t expected;
    } const cases[] = {{3, 100, 3}, {0, 100, 0}, {8, 2.5f, 3}, {8, 100, 8}, {8, -1, 0}, {-5, 100, 0}};
    for (const auto &c : cases) {
      Result result = runCounting(r, c.trips, c.limit);
      EXPECT_EQ(result.type.dims[0], c.expected);
      EXPECT_EQ(result.type.dims[1], kWidth);
      for (int64_t i = 0; i < kWidth; ++i) {
        EXPECT_EQ(result.y[i], 10.f * i + c.expected);
        for (int64_t row = 0; row < kMost; ++row)
          EXPECT_EQ(result.rows[row * kWidth + i], row < c.expected ? 10.f * i + row + 1 : -1.f);
      }
    }
  }
}

TEST(Control, RowsInReverse) {
  Counting model(/*reverse=*/true);
  llmopt_model_desc desc = model.build();
  Running r(desc);
  Result result = runCounting(r, kMost, 100);
  for (int64_t row = 0; row < kMost; ++row)
    EXPECT_EQ(result.rows[row * kWidth], float(kMost - row));
}

TEST(Control, BranchTakesOneWay) {
  ControlModel model;
  uint32_t width = model.constant(kWidth), bytes = model.constant(4 * kWidth), one = model.constant(1);
  uint32_t x = model.input("x", LLMOPT_F32, {width}), flag = model.input("flag", LLMOPT_BOOL, {});
  uint32_t y = model.output("y", LLMOPT_F32, {width});
  model.control(LLMOPT_CONTROL_BRANCH, {flag}, {}, 3);
  model.step("increment", increment, {x, y}, {width}, one);
  model.control(LLMOPT_CONTROL_JUMP, {}, {}, 4);
  model.control(LLMOPT_CONTROL_COPY, {y, x}, {bytes});
  llmopt_model_desc desc = model.build();
  Running r(desc);
  ASSERT_EQ(r.bind({type(LLMOPT_F32, {kWidth}), type(LLMOPT_BOOL, {})}), "");
  for (bool taken : {true, false, true}) {
    std::vector<float> values{1, 2, 3, 4}, result(kWidth);
    std::vector<uint8_t> flags{taken};
    ASSERT_EQ(r.run({in(values), in(flags)}, {out(result)}), "");
    EXPECT_EQ(result[3], taken ? 5.f : 4.f);
  }
}

TEST(Control, ChecksHoldWhereTheyAreReached) {
  ControlModel model;
  uint32_t n = model.symbol("n"), bytes = model.mul(n, 4);
  uint32_t x = model.input("x", LLMOPT_F32, {n}), flag = model.input("flag", LLMOPT_BOOL, {});
  uint32_t y = model.output("y", LLMOPT_F32, {n});
  model.constraint(n, LLMOPT_AT_MOST, model.constant(3), "n <= 3 in the branch");
  model.constraints[0].flags = LLMOPT_CHECKED_BY_STEP;
  model.control(LLMOPT_CONTROL_BRANCH, {flag}, {}, 2);
  model.control(LLMOPT_CONTROL_CHECK, {}, {}, 0);
  model.control(LLMOPT_CONTROL_COPY, {y, x}, {bytes});
  llmopt_model_desc desc = model.build();
  Running r(desc);
  for (int64_t size : {3, 4}) {
    ASSERT_EQ(r.bind({type(LLMOPT_F32, {size}), type(LLMOPT_BOOL, {})}), "");
    std::vector<float> values(size, 2.f), result(size);
    std::vector<uint8_t> yes{1}, no{0};
    EXPECT_EQ(r.run({in(values), in(no)}, {out(result)}), "");
    std::string message = r.run({in(values), in(yes)}, {out(result)});
    if (size <= 3)
      EXPECT_EQ(message, "");
    else
      EXPECT_EQ(message, "n <= 3 in the branch: expected n <= 3, but got 4 and 3");
  }
}

TEST(Control, DamagedStepsAreNamed) {
  const std::function<void(Counting &)> damages[] = {
      [](Counting &m) { m.steps[0].control = 99; }, [](Counting &m) { m.steps[0].kernel = increment; },
      [](Counting &m) { m.steps[0].num_args = 0; }, [](Counting &m) { m.steps[1].num_dims = 0; },
      [](Counting &m) { m.steps[3].tiles = 11; },   [](Counting &m) { m.stepArgs[m.steps[3].first_arg] = LLMOPT_NONE; },
      [](Counting &m) { m.steps[5].num_dims = 2; }, [](Counting &m) { m.steps[8].tiles = LLMOPT_NONE; },
      [](Counting &m) { m.steps[9].tiles = 2; },    [](Counting &m) { m.steps[9].num_dims = 1; },
  };
  for (const auto &damage : damages) {
    Counting model;
    damage(model);
    llmopt_model_desc desc = model.build();
    llmopt_model *created = nullptr;
    llmopt_error error = {};
    EXPECT_EQ(llmopt_model_create(&desc, nullptr, &created, &error), LLMOPT_BAD_MODEL);
    EXPECT_NE(std::string(error.message).find("is no sound step of the runtime"), std::string::npos) << error.message;
    llmopt_model_destroy(created);
  }
}
