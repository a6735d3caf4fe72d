/* A compiled model written by hand: y = relu(x * w + b), s = w, with x of shape
 * [batch, 4]. The macros make the damaged variants that the loader must refuse. */
#include "llmopt/Runtime/abi.h"

#ifndef MODEL_ABI_VERSION
#define MODEL_ABI_VERSION LLMOPT_ABI_VERSION
#endif
#ifndef MODEL_CPU_FEATURES
#define MODEL_CPU_FEATURES ""
#endif
#ifndef MODEL_STRUCT_SIZE
#define MODEL_STRUCT_SIZE sizeof(llmopt_model_desc)
#endif
#ifndef MODEL_OUTPUT_DIM
#define MODEL_OUTPUT_DIM 1
#endif
#ifndef MODEL_WEIGHT_OFFSET
#define MODEL_WEIGHT_OFFSET 256
#endif

static void affine(void *const *args, const int64_t *dims, int64_t tile, void *scratch) {
  const float *x = (const float *)args[0] + tile * dims[0];
  const float *w = args[1], *b = args[2];
  float *t = (float *)args[3] + tile * dims[0];
  float *sum = scratch;
  for (int64_t i = 0; i < dims[0]; ++i) {
    sum[i] = x[i] * w[i];
    t[i] = sum[i] + b[i];
  }
}

static void relu(void *const *args, const int64_t *dims, int64_t tile, void *scratch) {
  const float *t = (const float *)args[0] + tile * dims[0];
  float *y = (float *)args[1] + tile * dims[0];
  (void)scratch;
  for (int64_t i = 0; i < dims[0]; ++i)
    y[i] = t[i] > 0 ? t[i] : 0;
}

static const char *const symbols[] = {"batch"};
static const llmopt_expr_insn code[] = {
    {LLMOPT_EXPR_SYMBOL, 0},                                                /* 0: batch */
    {LLMOPT_EXPR_CONST, 4},                                                 /* 1: 4 */
    {LLMOPT_EXPR_SYMBOL, 0}, {LLMOPT_EXPR_CONST, 16}, {LLMOPT_EXPR_MUL, 0}, /* 2: batch * 16 */
    {LLMOPT_EXPR_CONST, 16},                                                /* 3: 16 */
    {LLMOPT_EXPR_CONST, 0},                                                 /* 4: 0 */
    {LLMOPT_EXPR_CONST, 256},                                               /* 5: 256 */
};
static const llmopt_expr exprs[] = {{0, 1}, {1, 1}, {2, 3}, {5, 1}, {6, 1}, {7, 1}};
static const llmopt_tensor_desc inputs[] = {{"x", LLMOPT_F32, 2, {0, 1}, 0}};
static const llmopt_tensor_desc outputs[] = {{"y", LLMOPT_F32, 2, {0, MODEL_OUTPUT_DIM}, 4},
                                             {"s", LLMOPT_F32, 1, {1}, 1}};
static const llmopt_buffer buffers[] = {
    {LLMOPT_BUFFER_INPUT, 0, 2, LLMOPT_NONE, 0, 0, 0},
    {LLMOPT_BUFFER_WEIGHT, LLMOPT_NONE, 3, 4, 0, 0, 0},
    {LLMOPT_BUFFER_WEIGHT, LLMOPT_NONE, 3, 5, 0, 0, 0},
    {LLMOPT_BUFFER_ARENA, LLMOPT_NONE, 2, LLMOPT_NONE, 0, 1, 0},
    {LLMOPT_BUFFER_OUTPUT, 0, 2, LLMOPT_NONE, 0, 0, 0},
};
static const uint32_t step_args[] = {0, 1, 2, 3, 3, 4};
static const uint32_t step_dims[] = {1, 1};
static const llmopt_step steps[] = {{"Mul_0 + Add_1", affine, 0, 4, 0, 1, 0, 0},
                                    {"Relu_2", relu, 4, 2, 1, 1, 0, 0}};
static const llmopt_weight weights[] = {
    {"w", LLMOPT_F32, 1, {4}, 0, 16, 0},
    {"b", LLMOPT_F32, 1, {4}, MODEL_WEIGHT_OFFSET, 16, "slice(bias, 0, 4)"}};

static const llmopt_model_desc model = {
    MODEL_STRUCT_SIZE,
    MODEL_ABI_VERSION,
    {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
    "affine",
    "by hand",
    "any",
    MODEL_CPU_FEATURES,
    1, 1, 2, 5, 2, 2, 6, 8, 6, 2,
    symbols, inputs, outputs, buffers, steps, weights, exprs, code, step_args, step_dims,
    3, 0,
    272,
    "{\"source\": \"affine.onnx\"}",
    0, 0, 0,
};

#ifndef MODEL_SYMBOL
#define MODEL_SYMBOL llmopt_model_v1
#endif
__attribute__((visibility("default"))) const llmopt_model_desc *MODEL_SYMBOL(void) {
  return &model;
}
