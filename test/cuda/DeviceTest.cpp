// Sessions on a device through the C interface, on the stand-in driver: bindings,
// memory, graphs, device pointers, threads, damaged tables.
#include "llmopt/runtime.h"

#include "../../runtime/cuda/src/driver.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <dlfcn.h>
#include <string>
#include <thread>
#include <vector>

namespace {

/// y = x w + c for x of n floats; ids of the second input must be below 3.
struct Affine {
  const char *symbols[1] = {"n"};
  // n; 4 n; ceil(n / 4); 4; 0; 3; 1
  llmopt_expr exprs[7] = {{0, 1}, {1, 3}, {4, 3}, {7, 1}, {8, 1}, {9, 1}, {10, 1}};
  llmopt_expr_insn code[11] = {{LLMOPT_EXPR_SYMBOL, 0},  {LLMOPT_EXPR_CONST, 4},  {LLMOPT_EXPR_SYMBOL, 0},
                               {LLMOPT_EXPR_MUL, 0},     {LLMOPT_EXPR_SYMBOL, 0}, {LLMOPT_EXPR_CONST, 4},
                               {LLMOPT_EXPR_CEILDIV, 0}, {LLMOPT_EXPR_CONST, 4},  {LLMOPT_EXPR_CONST, 0},
                               {LLMOPT_EXPR_CONST, 3},   {LLMOPT_EXPR_CONST, 1}};
  llmopt_tensor_desc inputs[2] = {{"x", LLMOPT_F32, 1, {0}, 0}, {"id", LLMOPT_I32, 1, {6}, 5}};
  llmopt_tensor_desc outputs[1] = {{"y", LLMOPT_F32, 1, {0}, 4}};
  float constant = 0.5f;
  // x, w, c, what is between, y, id
  llmopt_buffer buffers[6] = {{LLMOPT_BUFFER_INPUT, 0, 1, LLMOPT_NONE, 0, 0, nullptr},
                              {LLMOPT_BUFFER_WEIGHT, LLMOPT_NONE, 3, 4, 0, 0, nullptr},
                              {LLMOPT_BUFFER_CONSTANT, LLMOPT_NONE, 3, LLMOPT_NONE, 0, 0, &constant},
                              {LLMOPT_BUFFER_ARENA, LLMOPT_NONE, 1, LLMOPT_NONE, 0, 1, nullptr},
                              {LLMOPT_BUFFER_OUTPUT, 0, 1, LLMOPT_NONE, 1, 1, nullptr},
                              {LLMOPT_BUFFER_INPUT, 1, 3, LLMOPT_NONE, 0, 0, nullptr}};
  uint32_t args[8] = {0, 1, 2, 3, 3, 1, 2, 4};
  uint32_t dims[2] = {0, 0};
  llmopt_step steps[2] = {{"/first", nullptr, 0, 4, 0, 1, 2, 0}, {"/second", nullptr, 4, 4, 1, 1, 2, 0}};
  llmopt_weight weights[1] = {{"w", LLMOPT_F32, 1, {1}, 0, 4, nullptr}};
  llmopt_index_check checks[1] = {{1, 5, "/lookup"}};
  llmopt_device_kernel kernels[1] = {{"affine", 32, 0, 4, 1, 16, LLMOPT_NONE, 0}};
  uint32_t stepKernels[2] = {0, 0};
  unsigned image[4] = {0xba55ed50, 0, 0, 0};
  llmopt_device device = {sizeof(llmopt_device), LLMOPT_DEVICE_CUDA, 1,     0,        kernels,
                          stepKernels,           "sm_80,compute_80", image, image + 4};
  llmopt_model_desc desc = {};
  alignas(64) float weight = 2.0f;

  Affine() {
    desc.struct_size = sizeof(desc);
    desc.abi_version = LLMOPT_ABI_VERSION;
    desc.name = "affine";
    desc.compiler = "by hand";
    desc.target = desc.cpu_features = desc.metadata = "";
    desc.num_symbols = 1, desc.num_inputs = 2, desc.num_outputs = 1, desc.num_buffers = 6, desc.num_steps = 2;
    desc.num_weights = 1, desc.num_exprs = 7, desc.num_expr_code = 11, desc.num_step_args = 8, desc.num_step_dims = 2;
    desc.symbols = symbols, desc.inputs = inputs, desc.outputs = outputs, desc.buffers = buffers, desc.steps = steps;
    desc.weights = weights, desc.exprs = exprs, desc.expr_code = code, desc.step_args = args, desc.step_dims = dims;
    desc.scratch_bytes = LLMOPT_NONE;
    desc.weights_size = 4;
    desc.past_symbol = desc.capacity_symbol = desc.new_tokens = LLMOPT_NONE;
    desc.num_index_checks = 1;
    desc.index_checks = checks;
    desc.device = &device;
  }
};

std::string message; // of the last failure

llmopt_status createModel(Affine &affine, llmopt_model **model) {
  llmopt_create_options options = {};
  options.struct_size = sizeof(options);
  options.weights_data = &affine.weight;
  options.weights_size = 4;
  llmopt_error error = {};
  llmopt_status status = llmopt_model_create(&affine.desc, &options, model, &error);
  message = error.message;
  return status;
}

llmopt_status createSession(llmopt_model *model, llmopt_session **session, bool devicePointers = false) {
  llmopt_session_options options = {};
  options.struct_size = sizeof(options);
  options.device_pointers = devicePointers;
  llmopt_error error = {};
  llmopt_status status = llmopt_session_create(model, &options, session, &error);
  message = error.message;
  return status;
}

llmopt_status bind(llmopt_session *session, int64_t n) {
  llmopt_tensor_type types[2] = {{LLMOPT_F32, 1, {n}}, {LLMOPT_I32, 1, {1}}};
  llmopt_error error = {};
  llmopt_status status = llmopt_session_bind(session, types, 2, &error);
  message = error.message;
  return status;
}

/// 4 x + 1.5, twice the step.
llmopt_status run(llmopt_session *session, const void *x, const void *id, void *y, size_t bytes) {
  llmopt_input inputs[2] = {{x, bytes}, {id, 4}};
  llmopt_output outputs[1] = {{y, bytes}};
  llmopt_error error = {};
  llmopt_status status = llmopt_session_run(session, inputs, 2, outputs, 1, &error);
  message = error.message;
  return status;
}

void expectRuns(llmopt_session *session, int64_t n, float first) {
  std::vector<float> x(n), y(n);
  for (int64_t i = 0; i < n; ++i)
    x[i] = first + float(i);
  int32_t id = 2;
  ASSERT_EQ(run(session, x.data(), &id, y.data(), n * sizeof(float)), LLMOPT_OK) << message;
  for (int64_t i = 0; i < n; ++i)
    ASSERT_EQ(y[i], 4 * x[i] + 1.5f) << i;
}

struct Models : ::testing::Test {
  void SetUp() override { ASSERT_EQ(createModel(affine, &model), LLMOPT_OK) << message; }
  void TearDown() override { llmopt_model_destroy(model); }
  Affine affine;
  llmopt_model *model = nullptr;
};

template <typename F> F driverFunction(const char *name) {
  void *driver = dlopen(LLMOPT_STANDIN, RTLD_NOW | RTLD_LOCAL);
  return reinterpret_cast<F>(dlsym(driver, name));
}

} // namespace

TEST(Architectures, WhatRunsWhere) {
  using llmopt::rt::runsOn;
  EXPECT_TRUE(runsOn("sm_80", 8, 0));
  EXPECT_TRUE(runsOn("sm_80", 8, 9));  // machine code runs on later devices of its major version
  EXPECT_FALSE(runsOn("sm_80", 9, 0)); // but not of the next
  EXPECT_FALSE(runsOn("sm_89", 8, 6));
  EXPECT_TRUE(runsOn("sm_89,compute_80", 8, 6));
  EXPECT_TRUE(runsOn("sm_80,compute_80", 12, 0)); // PTX runs on all later ones
  EXPECT_FALSE(runsOn("sm_80,compute_80", 7, 5));
  EXPECT_TRUE(runsOn("sm_80,sm_90a,compute_90a", 9, 0));
  EXPECT_FALSE(runsOn("sm_90a,compute_90a", 10, 0)); // `a` is this device only
  EXPECT_TRUE(runsOn("compute_100f", 10, 3));        // `f` its family
  EXPECT_FALSE(runsOn("compute_100f", 12, 0));
  EXPECT_FALSE(runsOn("", 9, 0));
  EXPECT_FALSE(runsOn("gfx_90,sm_,compute_", 9, 0));
}

TEST_F(Models, ManyShapesManyTimes) {
  llmopt_session *session = nullptr;
  ASSERT_EQ(createSession(model, &session), LLMOPT_OK) << message;
  // More shapes than graphs are kept, each often enough to be recorded and launched; larger
  // ones move the memory that earlier graphs point to.
  for (int round = 0; round < 4; ++round)
    for (int64_t n : {5, 1, 8, 100, 3, 64, 2, 1000, 7, 9, 4}) {
      ASSERT_EQ(bind(session, n), LLMOPT_OK) << message;
      expectRuns(session, n, float(round));
      expectRuns(session, n, float(10 * round));
    }
  ASSERT_EQ(bind(session, 0), LLMOPT_OK) << message; // nothing to launch
  expectRuns(session, 0, 0);
  llmopt_session_destroy(session);
}

TEST_F(Models, TooLargeLeavesTheFormerBinding) {
  llmopt_session *session = nullptr;
  ASSERT_EQ(createSession(model, &session), LLMOPT_OK) << message;
  ASSERT_EQ(bind(session, 6), LLMOPT_OK) << message;
  EXPECT_EQ(bind(session, int64_t(3) << 30), LLMOPT_OUT_OF_MEMORY);
  EXPECT_NE(message.find("free bytes"), std::string::npos) << message;
  EXPECT_NE(message.find("12884901888"), std::string::npos) << message;
  expectRuns(session, 6, 1);
  EXPECT_EQ(bind(session, int64_t(1) << 61), LLMOPT_SHAPE_MISMATCH) << message;
  expectRuns(session, 6, 2);
  llmopt_session_destroy(session);
}

TEST_F(Models, IdsAreCheckedFirst) {
  llmopt_session *session = nullptr;
  ASSERT_EQ(createSession(model, &session), LLMOPT_OK) << message;
  ASSERT_EQ(bind(session, 1), LLMOPT_OK) << message;
  float x = 1, y = -7;
  int32_t id = 3;
  EXPECT_EQ(run(session, &x, &id, &y, 4), LLMOPT_BAD_VALUE);
  EXPECT_EQ(y, -7);
  llmopt_session_destroy(session);
}

TEST_F(Models, DevicePointers) {
  auto pushContext = driverFunction<int (*)(void *)>("cuCtxPushCurrent_v2");
  auto popContext = driverFunction<int (*)(void **)>("cuCtxPopCurrent_v2");
  auto retain = driverFunction<int (*)(void **, int)>("cuDevicePrimaryCtxRetain");
  auto release = driverFunction<int (*)(int)>("cuDevicePrimaryCtxRelease_v2");
  auto allocate = driverFunction<int (*)(uint64_t *, size_t)>("cuMemAlloc_v2");
  auto free = driverFunction<int (*)(uint64_t)>("cuMemFree_v2");
  llmopt_session *session = nullptr;
  ASSERT_EQ(createSession(model, &session, true), LLMOPT_OK) << message;
  ASSERT_EQ(bind(session, 3), LLMOPT_OK) << message;
  void *context = nullptr, *ignored = nullptr;
  ASSERT_EQ(retain(&context, 0), 0);
  ASSERT_EQ(pushContext(context), 0);
  uint64_t block = 0;
  ASSERT_EQ(allocate(&block, 1024), 0);
  auto *x = reinterpret_cast<float *>(block), *y = x + 64, *otherY = x + 128;
  auto *id = reinterpret_cast<int32_t *>(block + 960);
  *id = 1;
  for (int repeat = 0; repeat < 4; ++repeat) // the same addresses: a graph from the second run on
    for (float *to : {y, otherY}) {
      for (int i = 0; i < 3; ++i) {
        x[i] = float(repeat + i);
        to[i] = 0;
      }
      ASSERT_EQ(run(session, x, id, to, 12), LLMOPT_OK) << message;
      for (int i = 0; i < 3; ++i)
        EXPECT_EQ(to[i], 4 * x[i] + 1.5f);
    }
  *id = 9;
  EXPECT_EQ(run(session, x, id, y, 12), LLMOPT_BAD_VALUE);
  *id = 0;
  float host[3] = {};
  EXPECT_EQ(run(session, host, id, y, 12), LLMOPT_DEVICE_ERROR); // no device memory
  EXPECT_EQ(run(session, x, id, y, 12), LLMOPT_OK) << message;
  EXPECT_EQ(free(block), 0);
  EXPECT_EQ(popContext(&ignored), 0);
  EXPECT_EQ(release(0), 0);
  llmopt_session_destroy(session);
}

TEST_F(Models, SessionsOfThreadsShareAModel) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      llmopt_session *session = nullptr;
      ASSERT_EQ(createSession(model, &session), LLMOPT_OK);
      for (int64_t n : {1 + t, 20 * t + 3, 1 + t}) {
        ASSERT_EQ(bind(session, n), LLMOPT_OK);
        for (int i = 0; i < 3; ++i)
          expectRuns(session, n, float(i));
      }
      llmopt_session_destroy(session);
    });
  for (std::thread &thread : threads)
    thread.join();
}

TEST(Tables, DamagedDevices) {
  auto refused = [](const char *what, void (*damage)(Affine &)) {
    Affine affine;
    damage(affine);
    llmopt_model *model = nullptr;
    EXPECT_EQ(createModel(affine, &model), LLMOPT_BAD_MODEL) << what;
    EXPECT_NE(message.find("damaged"), std::string::npos) << what << ": " << message;
    EXPECT_EQ(model, nullptr);
  };
  refused("kind", [](Affine &a) { a.device.kind = 7; });
  refused("size", [](Affine &a) { a.device.struct_size = 8; });
  refused("image", [](Affine &a) { a.device.image = nullptr; });
  refused("empty image", [](Affine &a) { a.device.image_end = a.device.image; });
  refused("architectures", [](Affine &a) { a.device.architectures = nullptr; });
  refused("kernels", [](Affine &a) { a.device.kernels = nullptr; });
  refused("name", [](Affine &a) { a.kernels[0].name = nullptr; });
  refused("threads", [](Affine &a) { a.kernels[0].threads = 2000; });
  refused("no threads", [](Affine &a) { a.kernels[0].threads = 0; });
  refused("buffers", [](Affine &a) { a.kernels[0].num_buffers = 5; });
  refused("many buffers", [](Affine &a) { a.kernels[0].num_buffers = UINT32_MAX; });
  refused("dims", [](Affine &a) { a.kernels[0].num_dims = 2; });
  refused("scratch", [](Affine &a) { a.kernels[0].scratch_dim = 1; });
  refused("step", [](Affine &a) { a.stepKernels[1] = 1; });
  refused("no step", [](Affine &a) { a.stepKernels[0] = LLMOPT_NONE; });
  refused("steps", [](Affine &a) { a.device.step_kernels = nullptr; });
  refused("argument", [](Affine &a) { a.args[2] = LLMOPT_NONE; });
  refused("a kernel of the CPU",
          [](Affine &a) { a.steps[0].kernel = [](void *const *, const int64_t *, int64_t, void *) {}; });
  refused("no device", [](Affine &a) { a.desc.device = nullptr; });
}

TEST_F(Models, KernelsThatDoNotFit) {
  auto fails = [](void (*damage)(Affine &), llmopt_status status, const char *words) {
    Affine affine;
    damage(affine);
    llmopt_model *model = nullptr;
    ASSERT_EQ(createModel(affine, &model), LLMOPT_OK) << message;
    llmopt_session *session = nullptr;
    EXPECT_EQ(createSession(model, &session), status);
    EXPECT_NE(message.find(words), std::string::npos) << message;
    llmopt_model_destroy(model);
  };
  fails([](Affine &a) { a.kernels[0].name = "other"; }, LLMOPT_BAD_MODEL, "no kernel 'other'");
  fails([](Affine &a) { a.kernels[0].shared_bytes = 300 * 1024; }, LLMOPT_NO_DEVICE, "shared memory");
  fails([](Affine &a) { a.device.architectures = "sm_100"; }, LLMOPT_NO_DEVICE, "-cuda-arch=sm_90");
  fails([](Affine &a) { a.image[0] = 1; }, LLMOPT_DEVICE_ERROR, "device code");
}

int main(int argc, char **argv) {
  setenv("LLMOPT_CUDA_DRIVER", LLMOPT_STANDIN, 1);
  setenv("LLMOPT_STANDIN_KERNELS", LLMOPT_DEVICE_KERNELS, 1);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
