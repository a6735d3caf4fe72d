// Damaged tables: each must be refused by name, none may crash.
#include "ModelBuilder.h"

#include <functional>
#include <random>

using namespace llmopt::test;

namespace {
void nothing(void *const *, const int64_t *, int64_t, void *) {}

/// A model that is in order.
struct Sound : ModelBuilder {
  Sound() {
    uint32_t n = symbol("n");
    uint32_t x = input("x", LLMOPT_F32, {n});
    uint32_t a = arena(mul(n, 4), 0, 1);
    uint32_t v = view(a, constant(0), constant(4));
    uint32_t y = output("y", LLMOPT_F32, {n});
    step("one", nothing, {x, a}, {n}, constant(1));
    step("two", nothing, {v, y, LLMOPT_NONE}, {n}, constant(2));
    weights.push_back({"w", LLMOPT_F32, 1, {1}, 0, 0, nullptr});
    constraint(n, LLMOPT_AT_MOST, constant(100), nullptr);
  }
};

std::string create(const llmopt_model_desc &desc) {
  llmopt_model *model = nullptr;
  llmopt_error error = {};
  llmopt_status status = llmopt_model_create(&desc, nullptr, &model, &error);
  llmopt_model_destroy(model);
  EXPECT_TRUE(status == LLMOPT_OK || status == LLMOPT_BAD_MODEL) << error.message;
  return status ? error.message : "";
}
} // namespace

TEST(Tables, SoundOnePasses) {
  Sound sound;
  EXPECT_EQ(create(sound.build()), "");
}

TEST(Tables, DamageIsNamed) {
  struct Case {
    const char *message;
    std::function<void(Sound &)> damage;
  };
  const Case cases[] = {
      {"expression 0", [](Sound &s) { s.exprs[0].first = 1000; }},
      {"expression 0", [](Sound &s) { s.exprs[0].count = UINT32_MAX; }},
      {"expression 0", [](Sound &s) { s.code[0].value = 7; }},
      {"buffer 1", [](Sound &s) { s.buffers[1].size = 1000; }},
      {"buffer 1", [](Sound &s) { s.buffers[1].size = LLMOPT_NONE; }},
      {"buffer 1", [](Sound &s) { s.buffers[1].last_step = 2; }},
      {"buffer 1", [](Sound &s) { s.buffers[1].first_step = 5; }},
      {"buffer 1", [](Sound &s) { s.buffers[1].kind = 77; }},
      {"buffer 2", [](Sound &s) { s.buffers[2].index = 2; }},
      {"buffer 2", [](Sound &s) { s.buffers[2].index = 1000; }},
      {"buffer 2", [](Sound &s) { s.buffers[2].offset = LLMOPT_NONE; }},
      {"buffer 0", [](Sound &s) { s.buffers[0].index = 3; }},
      {"buffer 3", [](Sound &s) { s.buffers[3].index = 3; }},
      {"input 0", [](Sound &s) { s.inputs[0].name = nullptr; }},
      {"input 0", [](Sound &s) { s.inputs[0].dtype = 0; }},
      {"input 0", [](Sound &s) { s.inputs[0].rank = LLMOPT_MAX_RANK + 1; }},
      {"input 0", [](Sound &s) { s.inputs[0].dims[0] = 1000; }},
      {"input 0", [](Sound &s) { s.inputs[0].buffer = 1; }},
      {"output 0", [](Sound &s) { s.outputs[0].buffer = 1000; }},
      {"output 0", [](Sound &s) { s.outputs[0].buffer = LLMOPT_NONE; }},
      {"symbol 1", [](Sound &s) { s.symbol("unused"); }},
      {"step 0", [](Sound &s) { s.steps[0].kernel = nullptr; }},
      {"step 0", [](Sound &s) { s.steps[0].name = nullptr; }},
      {"step 0", [](Sound &s) { s.steps[0].num_args = 1000; }},
      {"step 1", [](Sound &s) { s.steps[1].first_arg = UINT32_MAX; }},
      {"step 1", [](Sound &s) { s.steps[1].num_dims = UINT32_MAX; }},
      {"step 1", [](Sound &s) { s.steps[1].tiles = LLMOPT_NONE; }},
      {"step argument 0", [](Sound &s) { s.stepArgs[0] = 1000; }},
      {"step size 0", [](Sound &s) { s.stepDims[0] = 1000; }},
      {"scratch size", [](Sound &s) { s.scratch = 1000; }},
      {"weight 0", [](Sound &s) { s.weights[0].size = 1; }},
      {"weight 0", [](Sound &s) { s.weights[0].offset = UINT64_MAX; }},
      {"constraint 0", [](Sound &s) { s.constraints[0].rhs = 1000; }},
      {"constraint 0", [](Sound &s) { s.constraints[0].relation = 9; }},
  };
  for (const Case &c : cases) {
    Sound sound;
    c.damage(sound);
    EXPECT_NE(create(sound.build()).find(c.message), std::string::npos)
        << "expected a message about " << c.message << ", but got '" << create(sound.build()) << "'";
  }
}

TEST(Tables, MissingArrays) {
  Sound sound;
  llmopt_model_desc desc = sound.build();
  desc.steps = nullptr;
  EXPECT_NE(create(desc).find("steps"), std::string::npos);
  desc = sound.build();
  desc.cpu_features = nullptr;
  EXPECT_NE(create(desc), "");
}

TEST(Tables, RandomDamageNeverCrashes) {
  // Any change of indices and counts must end in a status, at load or at bind.
  std::mt19937 random(3);
  for (int round = 0; round < 5000; ++round) {
    Sound sound;
    const uint32_t values[] = {0, 1, 2, 3, 5, 8, 63, 1000, INT32_MAX, UINT32_MAX - 1, UINT32_MAX};
    auto hit = [&](auto &array) {
      using T = typename std::remove_reference_t<decltype(array)>::value_type;
      if (array.empty())
        return;
      // Only words that are no pointers: those the loader cannot judge.
      auto &entry = array[random() % array.size()];
      uint32_t value = values[random() % std::size(values)];
      if constexpr (std::is_same_v<T, llmopt_buffer>) {
        uint32_t *fields[] = {&entry.kind,   &entry.index,      &entry.size,
                              &entry.offset, &entry.first_step, &entry.last_step};
        uint32_t *field = fields[random() % 6];
        if (field != &entry.kind || value != LLMOPT_BUFFER_CONSTANT)
          *field = value;
      } else if constexpr (std::is_same_v<T, llmopt_step>) {
        uint32_t *fields[] = {&entry.first_arg, &entry.num_args, &entry.first_dim, &entry.num_dims, &entry.tiles};
        *fields[random() % 5] = value;
      } else if constexpr (std::is_same_v<T, llmopt_expr>) {
        (random() % 2 ? entry.first : entry.count) = value;
      } else if constexpr (std::is_same_v<T, llmopt_expr_insn>) {
        if (random() % 2)
          entry.op = value;
        else
          entry.value = random() % 2 ? int64_t(value) : INT64_MIN + value;
      } else {
        entry = value;
      }
    };
    for (unsigned hits = 1 + random() % 3; hits > 0; --hits)
      switch (random() % 6) {
      case 0:
        hit(sound.buffers);
        break;
      case 1:
        hit(sound.steps);
        break;
      case 2:
        hit(sound.exprs);
        break;
      case 3:
        hit(sound.code);
        break;
      case 4:
        hit(sound.stepArgs);
        break;
      case 5:
        hit(sound.stepDims);
        break;
      }
    llmopt_model_desc desc = sound.build();
    if (create(desc) != "")
      continue;
    Running r(desc);
    std::vector<float> x(10), y(10);
    if (r.bind({type(LLMOPT_F32, {10})}) != "")
      continue;
    llmopt_tensor_type t;
    ASSERT_EQ(llmopt_session_get_output_type(r.session, 0, &t, nullptr), LLMOPT_OK);
    // Huge tile counts of an empty kernel only take time.
    llmopt_step_profile p = {};
    p.struct_size = sizeof(p);
    bool quick = true;
    for (uint32_t s = 0; s < 2; ++s) {
      llmopt_session_get_profile(r.session, s, &p, nullptr);
      quick = quick && p.tiles < 100000;
    }
    if (quick)
      r.run({in(x)}, {out(y)});
  }
}
